"""What an autoscaler owns is not written by the program."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.clouds import Pool, gpu_pools
from infra.policies.model import Graph, Outcome, Resource, Rule, each
from infra.policies.seen import look
from infra.policies.settings import Settings


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    targets = {
        (
            found.namespace,
            str(look(found.inputs, "spec.scaleTargetRef.kind", "Deployment")),
            str(found.inputs["spec"]["scaleTargetRef"]["name"]),
        )
        for found in graph.of_kind("ScaledObject")
    }

    def workload(found: Resource) -> Iterator[Outcome]:
        if (found.namespace, found.kind, found.object_name) not in targets:
            return
        if look(found.inputs, "spec.replicas") is not None and "spec.replicas" not in found.ignore_changes:
            yield found.violation("spec.replicas", "is written by the program and by the autoscaler")

    def pool(found: Pool) -> Iterator[Outcome]:
        desired = found.row["desired"]
        if look(found.resource.inputs, desired) is not None and desired not in found.resource.ignore_changes:
            yield found.resource.violation(
                desired, "is written by the program and by the autoscaler", "pools.<pool>.min"
            )

    yield from each(graph.of_kind("Deployment", "StatefulSet", "LeaderWorkerSet"), workload, "stack:models")
    yield from each(gpu_pools(graph), pool, "stack:pools")


RULE = Rule(
    id="one-writer",
    title="Replicas and node counts are left to the autoscaler",
    reason="two writers fight: an update would end running models, or start nodes nobody asked for",
    key="models.<model>.min",
    fix="set min and max, never a count; the program must ignore changes of it",
    scope="stack",
    judge=judge,
)
