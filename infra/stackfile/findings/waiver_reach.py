"""How far a waiver's pattern reaches: tried on things of every kind, under names that nobody gives."""

from __future__ import annotations

import string
from collections.abc import Iterator
from datetime import date
from functools import cache
from typing import Any

from infra.stackfile.findings.waiver import Waiver
from infra.stackfile.schema.model import ModelConfig
from infra.stackfile.schema.pool import PoolConfig
from infra.stackfile.schema.stack import SECTIONS
from infra.workspace import PROJECT

# Every letter and digit: a pattern that fits it by a letter or two fits nearly any name.
_ANY = "sphinx-of-black-quartz-judge-my-vow-0123456789"
_TYPES = (
    *("aws:eks/cluster:Cluster", "aws:eks/nodeGroup:NodeGroup", "aws:s3/bucket:Bucket", "aws:kms/key:Key"),
    *("azure-native:containerservice:ManagedCluster", "azure-native:storage:StorageAccount"),
    *("gcp:container/cluster:Cluster", "gcp:storage/bucket:Bucket"),
    *("kubernetes:apps/v1:Deployment", "kubernetes:core/v1:Service", "kubernetes:core/v1:Secret"),
    *("kubernetes:networking.k8s.io/v1:NetworkPolicy", "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding"),
    *("ebbtide:model_service:ModelService", "ebbtide:gateway:Gateway", "random:index/randomPassword:RandomPassword"),
)


def kinds_matched(pattern: str) -> list[str]:
    """Return the sections of the stack file and the types of resources of which a pattern matches some thing whatever
    that is called."""
    tried = Waiver(rule="", resource=pattern, owner="", reason="", expiry=date.max)
    return list(dict.fromkeys(kind for kind, at in _things() if tried.covers("", at)))


@cache
def _things() -> tuple[tuple[str, str], ...]:
    return (*_places(), *_resources())


def _places() -> Iterator[tuple[str, str]]:
    fields: dict[str, Any] = {"pools": PoolConfig, "models": ModelConfig}
    for section in SECTIONS:
        shape = fields[section].model_fields if section in fields else {}
        known = [field.alias or name for name, field in shape.items()]
        for below in ("", f".{_ANY}", *(f".{_ANY}.{key}" for key in (_ANY, *known))):
            yield section, f"stack:{section}{below}"


def _resources() -> Iterator[tuple[str, str]]:
    files = (PROJECT / "stacks").glob("Pulumi.*.yaml")
    stacks = (_ANY, *(file.name.removeprefix("Pulumi.").removesuffix(".yaml") for file in files))
    names = (_ANY, *(f"{letter}-{_ANY}-{letter}" for letter in string.ascii_lowercase + string.digits))
    for kind in _TYPES:
        yield from ((kind, f"urn:pulumi:{stack}::ebbtide::{kind}::{_ANY}") for stack in stacks)
        yield from ((kind, f"urn:pulumi:{_ANY}::ebbtide::{kind}::{name}") for name in names)
