"""In production the API of the cluster is private."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.clouds import checked
from infra.policies.model import PROD_ONLY, Graph, Outcome, Rule
from infra.policies.settings import Settings


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    yield from checked("private-api", graph)


RULE = Rule(
    id="private-api",
    title="In production the API of the cluster is private",
    reason="an API open to the internet is one leaked credential away from everything",
    key="platform.cluster.apiAllowedNetworks",
    fix="leave apiAllowedNetworks empty, or name your own networks",
    scope="stack",
    judge=judge,
    levels=PROD_ONLY,
)
