"""In production the API keeps an audit log."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.clouds import checked
from infra.policies.model import PROD_ONLY, Graph, Outcome, Rule
from infra.policies.settings import Settings


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    yield from checked("audit-log", graph)


RULE = Rule(
    id="audit-log",
    title="In production the API keeps an audit log",
    reason="without it nobody can tell who did what",
    key="platform.cluster",
    fix="leave the log to the product",
    scope="stack",
    judge=judge,
    levels=PROD_ONLY,
)
