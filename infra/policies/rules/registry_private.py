"""The registry is private, encrypted and scanned."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.clouds import checked
from infra.policies.model import CLOUD, Graph, Outcome, Rule
from infra.policies.settings import Settings


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    yield from checked("registry-private", graph)


RULE = Rule(
    id="registry-private",
    title="The registry is private, encrypted and scanned",
    reason="what is pulled from it runs with the keys of the stack",
    key="platform",
    fix="leave the registry to the product",
    scope="stack",
    judge=judge,
    levels=CLOUD,
)
