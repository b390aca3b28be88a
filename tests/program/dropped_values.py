"""Values that do not come back from the API server as they were sent: empty ones that the Go type of a kind leaves out
when the object is written whole, by the API server (its own kinds) or by the kind's controller (the custom ones). The
official Kubernetes provider shows each as a difference after every refresh, for ever."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

POINTER = "a pointer in the Go type: what was written comes back, zero too"
REQUIRED = "has no omitempty in the Go type: comes back as it is"
# what may be sent empty, by its place; ``pod.`` stands for the pod of whichever workload
KEPT: Mapping[str, str] = {
    "ScaledObject spec.minReplicaCount": POINTER,
    "Deployment spec.replicas": POINTER,
    "LeaderWorkerSet spec.replicas": POINTER,
    "LeaderWorkerSet spec.rolloutStrategy.rollingUpdateConfiguration.maxSurge": "a struct in Go: always written",
    "Deployment spec.strategy.rollingUpdate.maxSurge": POINTER,
    "Deployment spec.strategy.rollingUpdate.maxUnavailable": POINTER,
    "pod.automountServiceAccountToken": POINTER,
    "pod.enableServiceLinks": POINTER,
    "pod.containers[].securityContext.allowPrivilegeEscalation": POINTER,
    "pod.volumes[].emptyDir": POINTER,
    "PersistentVolumeClaim spec.storageClassName": POINTER,
    "ServiceAccount automountServiceAccountToken": POINTER,
    "NetworkPolicy spec.podSelector": REQUIRED,
    "NetworkPolicy spec.ingress[].from[].namespaceSelector": POINTER,
    "Role rules[].apiGroups[]": "an item of a list, not a field: the core group's name",
    "ValidatingAdmissionPolicy spec.matchConstraints.resourceRules[].apiGroups[]": "the same",
}


def dropped(objects: Iterable[Mapping[str, Any]]) -> list[str]:
    """Every empty value of the objects (as they are sent, with ``kind``) that no reason keeps."""
    names = {
        place
        for each in objects
        for path in _empty("", {key: value for key, value in each.items() if key not in ("apiVersion", "kind")})
        if (place := _place(str(each["kind"]), path)) not in KEPT
    }
    return sorted(names)


def _place(kind: str, path: str) -> str:
    in_pod = re.match(r"spec\.(?:\w+Template\.)*template\.spec\.|spec\.leaderWorkerTemplate\.\w+\.spec\.", path)
    return f"pod.{path[in_pod.end() :]}" if in_pod else f"{kind} {path}"


def _empty(path: str, value: Any) -> Iterator[str]:
    if isinstance(value, Mapping) and value:
        for key, child in value.items():
            yield from _empty(f"{path}.{key}".lstrip("."), child)
    elif isinstance(value, list) and value:
        for child in value:
            yield from _empty(f"{path}[]", child)
    elif not value:
        yield path
