"""The engine itself refuses to delete what does not come back."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.clouds import clouds, stands_in_gpu_pool
from infra.policies.model import PROD_ONLY, Outcome, Resource, Rule
from infra.policies.settings import Settings

_KINDS = ("Cluster", "ManagedCluster", "Bucket", "StorageAccount", "Repository", "Registry", "Key", "CryptoKey")


def judge(resource: Resource, settings: Settings) -> Iterator[Outcome]:
    table = clouds()
    pool = resource.type in table["pools"] and stands_in_gpu_pool(resource.parent)
    stateful = resource.type in table["stateful"] and resource.kind in _KINDS
    if (pool or stateful) and not resource.protect:
        yield resource.violation("protect", "is not protected")


RULE = Rule(
    id="protected",
    title="In production clusters, buckets, registries, keys and GPU pools are protected",
    reason="without the mark one wrong commit deletes them",
    key="environment",
    fix="leave protect to the product: environment: prod sets it",
    scope="resource",
    judge=judge,
    levels=PROD_ONLY,
)
