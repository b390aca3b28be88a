"""The bucket of the weights is encrypted with a key of the stack."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.clouds import checked
from infra.policies.model import CLOUD, Graph, Outcome, Rule
from infra.policies.settings import Settings


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    yield from checked("bucket-encrypted", graph)


RULE = Rule(
    id="bucket-encrypted",
    title="The bucket of the weights is encrypted with a key of the stack",
    reason="whoever loses the key loses access: that is how it is withdrawn",
    key="platform",
    fix="leave the key to the product",
    scope="stack",
    judge=judge,
    levels=CLOUD,
)
