"""Rules for what a stack may hold and cost: ceilings, ``max``, quotas, GPU memory and licences."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from infra.policies.clouds import Pool, gpu_pools, node_pools
from infra.policies.inputs import get_path
from infra.policies.model import Graph, Outcome, Resource, Violation, each, rule
from infra.policies.pods import Pod, is_gpu, pods
from infra.policies.settings import Settings


@rule(
    id="cost-ceiling",
    title="All pools at their max stay under the ceiling of dollars an hour, at known prices",
    reason="max is what a bad day costs; a machine without a known price can cost anything",
    key="pools.<pool>.max",
    fix="lower max or take a cheaper machine; where the price is unknown, add pricePerHour",
    scope="stack",
)
def cost_ceiling(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    # what the stack file may cost is a finding; here the program is held to it
    if graph.stack is None:
        return
    groups: dict[str, str] = {}

    def judge_pool(pool: Pool) -> Iterator[Outcome]:
        name = pool.named_in(graph.pools)
        if name in groups:
            yield pool.resource.violation("", f"is a second group of nodes of {name}, beside {groups[name]}")
        groups[name] = pool.resource.name
        if name == _SYSTEM:
            yield from _within_system(graph, pool.resource, pool.machine_name, pool.number("max"), pool.row)

    def judge_cluster(cluster: Resource) -> Iterator[Outcome]:
        for index, inner in enumerate(get_path(cluster.inputs, "agentPoolProfiles") or ()):
            row = {
                key: f"agentPoolProfiles[{index}].{name}" for key, name in (("machine", "vmSize"), ("max", "maxCount"))
            }
            most = get_path(inner, "maxCount", get_path(inner, "count"))
            yield from _within_system(graph, cluster, str(get_path(inner, "vmSize", "")), most, row)

    yield from each(node_pools(graph), judge_pool, "stack:pools")
    yield from each((r for r in graph.resources if r.kind == "ManagedCluster"), judge_cluster, "stack:platform.cluster")


_SYSTEM = ""
"""Stands for the pool of nodes without GPUs, which has no name in the stack file."""


def _within_system(
    graph: Graph, resource: Resource, machine: str, most: int | None, row: Mapping[str, Any]
) -> Iterator[Outcome]:
    system_pool = getattr(getattr(getattr(graph.stack, "platform", None), "cluster", None), "system_pool", None)
    if system_pool is None:
        yield resource.violation("", "is a group of nodes that the stack file does not name")
        return
    if machine != system_pool.machine:
        yield resource.violation(row["machine"], "is another machine than the stack file names for the system pool")
    if most is None or most > system_pool.max:
        yield resource.violation(row["max"], "is above the max of the system pool in the stack file")


@rule(
    id="gpu-ceiling",
    title="All pools together stay under the ceiling of GPUs",
    reason="a stack whose pools may hold more GPUs than agreed on can empty the budget and the quota of everybody else",
    key="pools.<pool>.max",
    fix="lower max of a pool, or have the ceiling in infra/stackfile/limits.yaml raised",
    scope="stack",
)
def gpu_ceiling(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    most = settings.ceiling.gpus

    # the program may ask for more than the stack file says
    def judge_pool(pool: Pool) -> Iterator[Outcome]:
        declared = graph.pools.get(pool.named_in(graph.pools))
        if declared is None:
            return
        if (pool.number("max") or 0) > declared.max:
            yield pool.resource.violation(pool.row["max"], f"is above {declared.max}, the max in the stack file")
        # a launch template may name the machine instead
        if declared.machine and pool.machine_name not in ("", declared.machine):
            yield pool.resource.violation(pool.row["machine"], "is another machine than the stack file names")

    yield from each(gpu_pools(graph), judge_pool, "stack:pools")
    gpus = sum((pool.number("max") or 0) * (pool.machine.gpus if pool.machine else 0) for pool in gpu_pools(graph))
    if gpus > most:
        yield Violation("stack:pools", "max", f"may hold {gpus} GPUs; the ceiling of {settings.environment} is {most}")


@rule(
    id="gpu-memory",
    title="Every model's weights and one full sequence fit the memory of its GPUs",
    reason="a model that does not fit is paid for while it crashes, again and again",
    key="models.<model>.gpus",
    fix="take more GPUs, a machine with more memory, or a quantized variant",
    scope="stack",
)
def gpu_memory(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    yield from graph.unknown("EBB250", "EBB251", "EBB252")


@rule(
    id="licence-acknowledged",
    title="The licence of every gated model is acknowledged",
    reason="serving a gated model without accepting its terms is a breach of them",
    key="models.<model>.licenceAccepted",
    fix="read the licence on the page of the model, accept it there, and add licenceAccepted: true",
    scope="stack",
)
def licence_acknowledged(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    yield from graph.unknown("EBB241", "EBB250")


@rule(
    id="max-present",
    title="Every pool and every model has a max",
    reason="without a ceiling nothing bounds the cost",
    key="max",
    fix="add max: and the most that may run at once",
    scope="stack",
)
def max_present(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    yield from each(gpu_pools(graph), _pool, "stack:pools")
    yield from each(graph.of_kind("ScaledObject"), _scaled, "stack:models")


def _pool(pool: Pool) -> Iterator[Outcome]:
    if pool.number("max") is None:
        yield pool.resource.violation(pool.row["max"], "is missing", "pools.<pool>.max")


def _scaled(scaled: Resource) -> Iterator[Outcome]:
    if get_path(scaled.inputs, "spec.maxReplicaCount") is None:
        yield scaled.violation("spec.maxReplicaCount", "is missing", "models.<model>.max")


def _counted_classes(quota: Resource) -> Iterator[str]:
    """Yield the priority classes whose pods a quota counts, if it bounds pods."""
    if get_path(quota.inputs, "spec.hard.pods") is None:
        return
    for each_scope in get_path(quota.inputs, "spec.scopeSelector.matchExpressions") or ():
        if (each_scope.get("scopeName"), each_scope.get("operator")) == ("PriorityClass", "In"):
            yield from (str(name) for name in each_scope.get("values") or ())


@rule(
    id="quota-present",
    title="Quotas bound the GPUs of all models together, and their instances where the stack does",
    reason="a quota holds where every other guard has failed",
    key="guard.maxGpus",
    fix="set guard: {maxGpus: …}",
    scope="stack",
)
def quota_present(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    limits: dict[tuple[str, str], int] = {}
    instances: dict[tuple[str, str], int] = {}

    def limit(quota: Resource) -> Iterator[Outcome]:
        for name in _counted_classes(quota):
            instances[quota.namespace, name] = int(get_path(quota.inputs, "spec.hard.pods"))
        for name, amount in (get_path(quota.inputs, "spec.hard") or {}).items():
            if not is_gpu(name.removeprefix("requests.")):
                continue
            limits[quota.namespace, name.removeprefix("requests.")] = int(amount)
        yield from ()

    read = list(each(graph.of_kind("ResourceQuota"), limit, "stack:guard"))
    yield from read
    if read:
        return  # a quota that nobody can read yet may be the one that is missing
    guard = graph.stack.guard if graph.stack is not None else None
    most = guard.max_gpus if guard is not None else None
    most_instances = guard.max_instances if guard is not None else None

    def judge_instance(pod: Pod) -> Iterator[Outcome]:
        at = f"{pod.at}.priorityClassName"
        limit = instances.get((pod.owner.namespace, str(get_path(pod.spec, "priorityClassName") or "")))
        if limit is None:
            yield pod.owner.violation(at, "is no class that a quota of instances counts", "guard.maxInstances")
        elif most_instances is not None and limit > most_instances:
            message = f"has a quota of {limit} instances, above maxInstances, which is {most_instances}"
            yield pod.owner.violation(at, message, "guard.maxInstances")

    def judge_pod(pod: Pod) -> Iterator[Outcome]:
        if most_instances is not None and pod.gpus and not pod.led:
            yield from judge_instance(pod)
        for resource in pod.gpus:
            limit = limits.get((pod.owner.namespace, resource))
            if limit is None:
                yield pod.owner.violation("metadata.namespace", f"has no ResourceQuota for {resource}")
            elif most is not None and limit > most:
                yield pod.owner.violation(
                    "metadata.namespace", f"has a quota of {limit}, above maxGpus, which is {most}"
                )

    yield from each(pods(graph), judge_pod, "stack:guard")
