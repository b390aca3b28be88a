"""Kubernetes itself keeps the ceiling of GPUs."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.model import Graph, Outcome, Rule, each
from infra.policies.pods import Pod, pods
from infra.policies.seen import look
from infra.policies.settings import Settings


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    limits: dict[tuple[str, str], int] = {}
    for quota in graph.of_kind("ResourceQuota"):
        for name, amount in (look(quota.inputs, "spec.hard") or {}).items():
            limits[quota.namespace, name.removeprefix("requests.")] = int(amount)
    most = graph.section("guard").get("maxGpus")

    def pod(found: Pod) -> Iterator[Outcome]:
        for resource in found.gpus:
            limit = limits.get((found.owner.namespace, resource))
            if limit is None:
                yield found.owner.violation("metadata.namespace", f"has no ResourceQuota for {resource}")
            elif isinstance(most, int) and limit > most:
                yield found.owner.violation(
                    "metadata.namespace", f"has a quota of {limit}, above maxGpus, which is {most}"
                )

    yield from each(pods(graph), pod, "stack:guard")


RULE = Rule(
    id="quota-present",
    title="A quota bounds the GPUs of all models together",
    reason="a quota holds where every other guard has failed",
    key="guard.maxGpus",
    fix="set guard: {maxGpus: …}",
    scope="stack",
    judge=judge,
)
