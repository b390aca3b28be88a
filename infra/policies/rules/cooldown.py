"""The idle timer never ends a model that still loads."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.model import Graph, NotEvaluated, Outcome, Resource, Rule, each
from infra.policies.seen import look
from infra.policies.settings import Settings, seconds


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    models = dict(graph.entries("models"))

    def scaled(found: Resource) -> Iterator[Outcome]:
        model = models.get(found.object_name)
        if look(found.inputs, "spec.minReplicaCount", 0) > 0:
            return
        if model is None:
            yield NotEvaluated(found.urn, "spec.cooldownPeriod", "belongs to no model of the stack file")
            return
        cold = seconds(model.get("coldStart", DEFAULT_COLD_START))
        cooldown = look(found.inputs, "spec.cooldownPeriod", KEDA_DEFAULT)
        if cold is not None and cooldown < cold:
            yield found.violation("spec.cooldownPeriod", f"is {cooldown} s, under a cold start of {cold:.0f} s")

    yield from each(graph.of_kind("ScaledObject"), scaled, "stack:models")


DEFAULT_COLD_START = "10m"  # ModelConfig.cold_start
KEDA_DEFAULT = 300


RULE = Rule(
    id="cooldown",
    title="The cooldown of every model is at least its cold path",
    reason="zero comes a cooldown after the last request, ready or not: a shorter one kills a loading model",
    key="models.<model>.idleTtl",
    fix="set idleTtl to coldStart or more",
    scope="stack",
    judge=judge,
)
