"""Pods that a stack creates, wherever their template is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from infra.policies.inputs import UnknownValue, get_path
from infra.policies.model import Graph, Resource

WORKLOADS = (
    "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "ReplicationController", "Job", "CronJob", "Pod",
    "PodTemplate", "LeaderWorkerSet",
)  # fmt: skip
TYPES = r"kubernetes:[^:]+:(" + "|".join(WORKLOADS) + r")"
_TEMPLATES = {
    "Pod": "",
    "PodTemplate": "template",
    "CronJob": "spec.jobTemplate.spec.template",
}
_LEADER, _WORKER = "spec.leaderWorkerTemplate.leaderTemplate", "spec.leaderWorkerTemplate.workerTemplate"


@dataclass(frozen=True)
class Pod:
    """A pod or a pod's template, read where a rule looks at it. ``at`` is the path of its spec; ``led``: it is in a
    group whose leader has a template of its own, and answers for it."""

    owner: Resource
    at: str
    led: bool = False

    @property
    def template(self) -> Any:
        where = self.at.rpartition(".")[0] if "." in self.at else ""
        return (get_path(self.owner.inputs, where) if where else self.owner.inputs) or {}

    @property
    def spec(self) -> Any:
        return get_path(self.template, "spec") or {}

    @property
    def labels(self) -> dict[str, str]:
        return {key: str(value) for key, value in (get_path(self.template, "metadata.labels") or {}).items()}

    def containers(self) -> Iterator[tuple[str, Any]]:
        """Yield all containers with their path, init and ephemeral containers included."""
        for kind in ("initContainers", "containers", "ephemeralContainers"):
            for index, container in enumerate(get_path(self.spec, kind) or ()):
                yield f"{self.at}.{kind}[{index}]", container

    def main_containers(self) -> Iterator[tuple[str, Any]]:
        return ((path, container) for path, container in self.containers() if ".containers[" in path)

    @property
    def gpus(self) -> dict[str, int]:
        """Return the GPUs of all its containers together, by resource name."""
        amounts: dict[str, int] = {}
        for _, container in self.containers():
            for name, amount in (get_path(container, "resources.limits") or {}).items():
                if is_gpu(name):
                    amounts[name] = amounts.get(name, 0) + int(amount)
        return amounts


def is_gpu(name: str) -> bool:
    """Return True for ``nvidia.com/gpu`` or a slice of one, and for other makers' equivalents."""
    maker, _, thing = name.partition("/")
    return "." in maker and (thing.startswith(("gpu", "mig-")) or thing.endswith("gpu"))


def pods_of(resource: Resource) -> Iterator[Pod]:
    """Yield the pod of a workload, leader (if any) and worker of a group of pods; nothing for anything else."""
    if not resource.is_kubernetes or resource.kind not in WORKLOADS:
        return
    if resource.kind == "LeaderWorkerSet":
        led = _is_led(resource)
        if led:
            yield Pod(resource, f"{_LEADER}.spec")
        yield Pod(resource, f"{_WORKER}.spec", led=led)
        return
    where = _TEMPLATES.get(resource.kind, "spec.template")
    yield Pod(resource, f"{where}.spec" if where else "spec")


def _is_led(group: Resource) -> bool:
    try:
        return get_path(group.inputs, _LEADER) is not None
    except UnknownValue:
        return True  # it is there, and whoever reads it will say that it is not known


def pods(graph: Graph) -> Iterator[Pod]:
    """Yield all pods of a stack. It reads none of them, so that one that cannot be read hides no other."""
    for resource in graph.of_kind(*WORKLOADS):
        yield from pods_of(resource)


def flags(container: Any) -> dict[str, str]:
    """Parse the command line into flags and values; the last value of a repeated flag counts."""
    words = [str(word) for kind in ("command", "args") for word in (get_path(container, kind) or ())]
    flag_values: dict[str, str] = {}
    for index, word in enumerate(words):
        if word.startswith("--"):
            name, equals, value = word.partition("=")
            following = words[index + 1] if index + 1 < len(words) else ""
            flag_values[name.replace("_", "-")] = value if equals else "" if following.startswith("--") else following
    return flag_values
