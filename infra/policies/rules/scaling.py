"""Rules for scaling: down to zero when idle, never while a model loads, written by the autoscaler alone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set

from infra.policies.clouds import Pool, gpu_pools
from infra.policies.inputs import get_path
from infra.policies.model import MANDATORY, PROD_ONLY, Graph, NotEvaluated, Outcome, Resource, each, rule
from infra.policies.settings import Settings

KEDA_DEFAULT = 300


@rule(
    id="cooldown",
    title="The cooldown of every model is at least its cold path",
    reason="zero comes a cooldown after the last request, ready or not: a shorter one kills a loading model",
    key="models.<model>.idleTtl",
    fix="set idleTtl to coldStart or more",
    scope="stack",
)
def cooldown(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    models = graph.models

    def judge_scaled_object(scaled: Resource) -> Iterator[Outcome]:
        model = models.get(scaled.object_name)
        if get_path(scaled.inputs, "spec.minReplicaCount", 0) > 0:
            return
        if model is None:
            yield NotEvaluated(scaled.urn, "spec.cooldownPeriod", "belongs to no model of the stack file")
            return
        cold = model.cold_start.seconds
        cooldown = get_path(scaled.inputs, "spec.cooldownPeriod", KEDA_DEFAULT)
        if cooldown < cold:
            yield scaled.violation("spec.cooldownPeriod", f"is {cooldown} s, under a cold start of {cold} s")

    yield from each(graph.of_kind("ScaledObject"), judge_scaled_object, "stack:models")


@rule(
    id="idle-ttl",
    title="Outside production an idle model is gone within the longest time allowed",
    reason="a timer of days is a model that never sleeps",
    key="models.<model>.idleTtl",
    fix="lower idleTtl",
    scope="resource",
    levels={**MANDATORY, "prod": "disabled"},
    types=r"kubernetes:keda\.sh/.*:ScaledObject",
)
def idle_ttl(resource: Resource, settings: Settings) -> Iterator[Outcome]:
    cooldown = get_path(resource.inputs, "spec.cooldownPeriod")
    if cooldown is None:
        yield resource.violation("spec.cooldownPeriod", "is missing")
    elif cooldown > settings.longest_idle:
        yield resource.violation("spec.cooldownPeriod", f"is {cooldown} s; at most {settings.longest_idle:.0f} s here")


@rule(
    id="one-writer",
    title="Replicas and node counts are left to the autoscaler",
    reason="two writers fight: an update would end running models, or start nodes nobody asked for",
    key="models.<model>.min",
    fix="set min and max, never a count; the program must ignore changes of it",
    scope="stack",
)
def one_writer(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    targets: set[tuple[str, str, str]] = set()

    def add_target(scaled: Resource) -> Iterator[Outcome]:
        kind = str(get_path(scaled.inputs, "spec.scaleTargetRef.kind", "Deployment"))
        targets.add((scaled.namespace, kind, str(scaled.inputs["spec"]["scaleTargetRef"]["name"])))
        yield from ()

    yield from each(graph.of_kind("ScaledObject"), add_target, "stack:models")

    def judge_workload(workload: Resource) -> Iterator[Outcome]:
        if (workload.namespace, workload.kind, workload.object_name) not in targets:
            return
        if get_path(workload.inputs, "spec.replicas") is not None and "spec.replicas" not in workload.ignore_changes:
            yield workload.violation("spec.replicas", "is written by the program and by the autoscaler")

    def judge_pool(pool: Pool) -> Iterator[Outcome]:
        desired = pool.row["desired"]
        left = any(desired == path or desired.startswith(f"{path}.") for path in pool.resource.ignore_changes)
        if get_path(pool.resource.inputs, desired) is not None and not left:
            yield pool.resource.violation(
                desired, "is written by the program and by the autoscaler", "pools.<pool>.min"
            )

    yield from each(graph.of_kind("Deployment", "StatefulSet", "LeaderWorkerSet"), judge_workload, "stack:models")
    yield from each(gpu_pools(graph), judge_pool, "stack:pools")


@rule(
    id="spot-only-production",
    title="In production no model stands on spot nodes alone",
    reason="spot nodes go at two minutes notice or less, all at once, when everybody else wants them too",
    key="pools.<pool>.capacity",
    fix="set capacity: onDemand, or give these models a pool with it under pool or fallbackPools",
    scope="stack",
    levels=PROD_ONLY,
)
def spot_only_production(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    pools_of_models = [model.pools for model in graph.models.values()]
    spot = {name for name, pool in graph.pools.items() if pool.capacity == "spot"}
    # pools in the graph count as well: they may be spot where the stack file says otherwise
    bought: dict[str, Pool] = {}

    def add_pool(pool: Pool) -> Iterator[Outcome]:
        if pool.is_spot:
            bought[pool.named_in(graph.pools)] = pool
        yield from ()

    yield from each(gpu_pools(graph), add_pool, "stack:pools")
    for name, pool in bought.items():
        if _is_all(name, spot | bought.keys(), pools_of_models):
            yield pool.resource.violation(pool.row["spot"]["path"], "is spot, and all that carries the models on it")


def _is_all(name: str, spot: Set[str], pools_of_models: Sequence[Sequence[str]]) -> bool:
    """Return True if a model's first choice is ``name`` and all its pools are spot."""
    return any(pools[0] == name and spot >= set(pools) for pools in pools_of_models)


@rule(
    id="zero-outside-production",
    title="Outside production pools and models have min 0, or a reason",
    reason="a GPU that waits for nobody is the largest avoidable cost of a test stack",
    key="min",
    fix="set min: 0, or add minReason: who needs it and until when",
    scope="stack",
    levels={**MANDATORY, "prod": "disabled"},
)
def zero_outside_production(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    def judge_pool(pool: Pool) -> Iterator[Outcome]:
        least, declared = pool.number("min") or 0, graph.pools.get(pool.named_in(graph.pools))
        if least > 0 and not (declared and declared.min_reason):
            yield pool.resource.violation(pool.row["min"], f"is {least}, without a reason", "pools.<pool>.min")

    def judge_scaled_object(scaled: Resource) -> Iterator[Outcome]:
        least, model = get_path(scaled.inputs, "spec.minReplicaCount", 0), graph.models.get(scaled.object_name)
        if least > 0 and not (model and model.min_reason):
            yield scaled.violation("spec.minReplicaCount", f"is {least}, without a reason", "models.<model>.min")

    yield from each(gpu_pools(graph), judge_pool, "stack:pools")
    yield from each(graph.of_kind("ScaledObject"), judge_scaled_object, "stack:models")
