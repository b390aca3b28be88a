"""What the local stack can be asked: whether its cluster is up."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from components.platforms.checkup import Answer, Check, Tools, problem
from components.platforms.cluster_checks import Cluster
from components.platforms.contract import About, PoolRequest
from components.platforms.local.facts import local_facts
from components.platforms.local.settings import LocalSettings


def checks(place: LocalSettings, pools: Mapping[str, PoolRequest], about: About, tools: Tools) -> Iterator[Check]:
    """Yield every question."""
    facts = local_facts()
    if facts is None:
        yield Check(subject="cluster", ask=_down)
    else:
        yield from Cluster(tools, facts.kubeconfig, facts.context).checks()


def _down() -> Iterator[Answer]:
    yield problem("no local stack is up", "ebbtide local up")
