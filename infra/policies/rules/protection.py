"""Rules for protection: nothing that does not come back by itself is deleted in passing."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.clouds import clouds, stands_in_gpu_pool
from infra.policies.model import PROD_ONLY, Graph, Outcome, Resource, Violation, rule
from infra.policies.settings import Settings


@rule(
    id="deletion-approved",
    title="Deleting or replacing a GPU pool or something stateful needs an approval",
    reason="a deleted bucket takes its weights along; a replaced pool ends what runs on it",
    key="pools.<pool>",
    fix="keep its name and what forces the replacement; or waive this rule for the resource, with an expiry",
    scope="change",
)
def deletion_approved(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    table = clouds()
    for change in graph.changes:
        if change.action not in ("deleted", "replaced"):
            continue
        pool = change.type in table["pools"] and stands_in_gpu_pool(change.urn)
        if pool or change.protected or change.type in table["stateful"]:
            what = "a GPU pool" if pool else "protected" if change.protected else "stateful"
            because = f": {change.why}" if change.why else ""
            yield Violation(change.urn, "", f"is {what} and would be {change.action}{because}")


_KINDS = ("Cluster", "ManagedCluster", "Bucket", "StorageAccount", "Repository", "Registry", "Key", "CryptoKey")


@rule(
    id="protected",
    title="In production clusters, buckets, registries, keys and GPU pools are protected",
    reason="without the mark one wrong commit deletes them",
    key="environment",
    fix="leave protect to the product: environment: prod sets it",
    scope="resource",
    levels=PROD_ONLY,
)
def protected(resource: Resource, settings: Settings) -> Iterator[Outcome]:
    table = clouds()
    pool = resource.type in table["pools"] and stands_in_gpu_pool(resource.parent)
    stateful = resource.type in table["stateful"] and resource.kind in _KINDS
    if (pool or stateful) and not resource.protect:
        yield resource.violation("protect", "is not protected")
