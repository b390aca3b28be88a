"""The bucket of the weights is private."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.clouds import checked
from infra.policies.model import CLOUD, Graph, Outcome, Rule
from infra.policies.settings import Settings


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    yield from checked("bucket-private", graph)


RULE = Rule(
    id="bucket-private",
    title="The bucket of the weights is private",
    reason="weights are licensed, and a public bucket is paid for by the byte",
    key="platform",
    fix="leave the bucket to the product",
    scope="stack",
    judge=judge,
    levels=CLOUD,
)
