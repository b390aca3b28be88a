"""Outside production GPUs go away while nobody asks."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.clouds import Pool, gpu_pools
from infra.policies.model import MANDATORY, Graph, Outcome, Resource, Rule, Violation, each
from infra.policies.seen import look
from infra.policies.settings import Settings


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    reasons: set[str] = set()
    for section in ("pools", "models"):
        for name, entry in graph.entries(section):
            least, reason = entry.get("min"), str(entry.get("minReason") or "").strip()
            if isinstance(least, int) and least > 0 and len(reason) < 8:
                yield Violation(f"stack:{section}.{name}", "min", f"is {least}, without a reason")
            if reason:
                reasons.add(name)

    def pool(found: Pool) -> Iterator[Outcome]:
        least = found.number("min") or 0
        if least > 0 and not any(name in found.resource.name for name in reasons):
            yield found.resource.violation(found.row["min"], f"is {least}, without a reason", "pools.<pool>.min")

    def scaled(found: Resource) -> Iterator[Outcome]:
        least = look(found.inputs, "spec.minReplicaCount", 0)
        if least > 0 and found.object_name not in reasons:
            yield found.violation("spec.minReplicaCount", f"is {least}, without a reason", "models.<model>.min")

    yield from each(gpu_pools(graph), pool, "stack:pools")
    yield from each(graph.of_kind("ScaledObject"), scaled, "stack:models")


RULE = Rule(
    id="zero-outside-production",
    title="Outside production pools and models have min 0, or a reason",
    reason="a GPU that waits for nobody is the largest avoidable cost of a test stack",
    key="min",
    fix="set min: 0, or add minReason: who needs it and until when",
    scope="stack",
    judge=judge,
    levels={**MANDATORY, "prod": "disabled"},
)
