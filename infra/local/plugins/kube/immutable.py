"""Which fields of which kind cannot be changed on a living object, as the official provider sees it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.local.plugins.differences import Change, Difference, compare
from infra.local.plugins.kube import objects
from infra.local.plugins.kube.settings import Settings
from infra.local.plugins.properties import UNKNOWN, Path
from infra.local.plugins.property_path import parse

_POD_MUTABLE = {"activeDeadlineSeconds", "tolerations", "containers", "initContainers"}
_SPEC: dict[tuple[str, str], tuple[str, ...]] = {
    ("apps", "Deployment"): ("spec.selector",),
    ("apps", "DaemonSet"): ("spec.selector",),
    ("apps", "StatefulSet"): (
        "spec.podManagementPolicy", "spec.revisionHistoryLimit", "spec.selector", "spec.serviceName",
        "spec.volumeClaimTemplates",
    ),
    ("batch", "Job"): ("spec.completions", "spec.parallelism", "spec.selector", "spec.template"),
    ("rbac.authorization.k8s.io", "RoleBinding"): ("roleRef",),
    ("rbac.authorization.k8s.io", "ClusterRoleBinding"): ("roleRef",),
    ("storage.k8s.io", "StorageClass"): ("parameters", "provisioner"),
    ("", "PersistentVolumeClaim"): (
        "spec.accessModes", "spec.selector", "spec.storageClassName", "spec.volumeName",
    ),
    ("", "PersistentVolume"): (
        "spec.csi", "spec.hostPath", "spec.local", "spec.nfs", "spec.iscsi", "spec.fc", "spec.awsElasticBlockStore",
        "spec.azureDisk", "spec.azureFile", "spec.gcePersistentDisk",
    ),
    ("", "ResourceQuota"): ("spec.scopes",),
    ("", "Secret"): ("type",),
    ("", "Service"): ("spec.clusterIP",),
}  # fmt: skip


def paths(thing: Mapping[str, Any], settings: Settings, *, patch: bool) -> tuple[Path, ...]:
    """The fields whose change needs a new object; a patch only has its identity."""
    found = ["metadata.name"]
    if not patch:
        group = str(thing.get("apiVersion", "")).rpartition("/")[0]
        kind = str(thing.get("kind", ""))
        found += _SPEC.get((group, kind), ())
        frozen = thing.get("immutable") is True
        if (group, kind) == ("", "Secret") and (frozen or not settings.secret_mutable):
            found += ["data", "stringData"]
        if (group, kind) == ("", "ConfigMap") and (frozen or not settings.config_map_mutable):
            found += ["data", "binaryData"]
        if (group, kind) == ("", "Pod"):
            spec = thing.get("spec") or {}
            found += [f"spec.{key}" for key in spec if key not in _POD_MUTABLE]
    return (("kind",), *(parse(path) for path in found))


def difference(
    old: dict[str, Any],
    new: dict[str, Any],
    old_namespace: str,
    default_namespace: str,
    settings: Settings,
    ignored: list[Path],
    *,
    patch: bool,
) -> Difference:
    """What changed between two sets of plain inputs.

    ``old_namespace`` is where the object lives now (empty: it has none). Leaving the namespace out and naming the
    default one are the same.
    """
    old, old_given = _without_namespace(old)
    new, new_given = _without_namespace(new)
    changes = compare(old, new, paths(new, settings, patch=patch), ignored)
    wanted = new_given or default_namespace
    if old_namespace and wanted != (old_given or old_namespace):
        changes += (Change(("metadata", "namespace"), "UPDATE", replaces=True),)
    moved = any(change.path[:2] in (("metadata", "name"), ("metadata", "namespace")) for change in changes)
    name = (new.get("metadata") or {}).get("name")
    named = bool(name) and name is not UNKNOWN and not objects.flagged(new, objects.AUTONAMED)
    found = Difference(changes)
    return Difference(changes, delete_first=found.replaces and named and not moved)


def _without_namespace(thing: dict[str, Any]) -> tuple[dict[str, Any], Any]:
    metadata = dict(thing.get("metadata") or {})
    namespace = metadata.pop("namespace", None)
    return {**thing, "metadata": metadata}, namespace
