"""In production Secrets are encrypted with a key of the stack."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.clouds import checked
from infra.policies.model import PROD_ONLY, Graph, Outcome, Rule
from infra.policies.settings import Settings


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    yield from checked("secrets-encrypted", graph)


RULE = Rule(
    id="secrets-encrypted",
    title="In production Secrets are encrypted with a key of the stack",
    reason="keys and tokens in the store of the cluster are else readable to who gets a copy of it",
    key="platform.cluster",
    fix="leave the key to the product",
    scope="stack",
    judge=judge,
    levels=PROD_ONLY,
)
