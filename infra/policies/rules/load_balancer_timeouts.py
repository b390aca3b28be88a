"""No hop hangs up on a request that waits for a model."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from typing import Any

from infra.policies.clouds import clouds
from infra.policies.model import CLOUD, Graph, Outcome, Resource, Rule, each
from infra.policies.seen import look
from infra.policies.settings import Settings, seconds


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    held = 0.0
    for route in graph.of_kind("InterceptorRoute"):
        held = max(held, seconds(look(route.inputs, "spec.timeouts.readiness", 0)) or 0)
    for hop in clouds()["ingress"]["idle"]:
        yield from each(
            (r for r in graph.resources if r.type == hop["type"]), partial(_hop, hop, held), "stack:platform"
        )


def _hop(hop: dict[str, Any], held: float, found: Resource) -> Iterator[Outcome]:
    if "chart" in hop and look(found.inputs, "chart") != hop["chart"]:
        return
    if "when" in hop and look(found.inputs, hop["when"]) is None:
        return
    if "whenClass" in hop and look(found.inputs, "spec.ingressClassName") != hop["whenClass"]:
        return
    match = re.search(hop["pattern"], str(look(found.inputs, hop["path"], "")))
    if match is None:
        yield found.violation(hop["path"], f"says no time-out: the default of the hop is under {held:.0f} s")
    elif 0 < float(match[1]) < held:
        yield found.violation(hop["path"], f"is {match[1]} s; a request is held for {held:.0f} s")


RULE = Rule(
    id="load-balancer-timeouts",
    title="Every hop stays silent at least as long as a request is held",
    reason="a load balancer that gives up first turns every cold start into an error",
    key="models.<model>.hold",
    fix="lower hold, or raise the time-out of the hop",
    scope="stack",
    judge=judge,
    levels=CLOUD,
)
