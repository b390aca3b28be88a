"""Rules for how pods run: under the restricted profile, with probes and a grace period, on their intended nodes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infra.policies.clouds import Pool, gpu_pools
from infra.policies.inputs import get_path
from infra.policies.model import Graph, Outcome, Resource, each, rule
from infra.policies.node_choice import choices
from infra.policies.pods import TYPES, Pod, flags, pods, pods_of
from infra.policies.settings import Settings


@rule(
    id="gpu-taint",
    title="Every GPU pool carries a NoSchedule taint",
    reason="without it any pod can land on a GPU node and keep it, and its bill, up",
    key="pools.<pool>.taints",
    fix="leave taints out for workerType and the name of the pool",
    scope="stack",
)
def gpu_taint(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    yield from each(gpu_pools(graph), _pool, "stack:pools")
    yield from each(graph.of_kind("NodePatch"), _node, "stack:pools")


def _pool(pool: Pool) -> Iterator[Outcome]:
    if not any(effect in ("NoSchedule", "NoExecute") for _, _, effect in pool.taints):
        yield pool.resource.violation(pool.row["taints"], "has no NoSchedule taint")


def _node(node: Resource) -> Iterator[Outcome]:
    taints = get_path(node.inputs, "spec.taints") or ()
    if not any(get_path(taint, "effect") in ("NoSchedule", "NoExecute") for taint in taints):
        yield node.violation("spec.taints", "has no NoSchedule taint")


@rule(
    id="placement",
    title="Selectors and tolerations of pods with GPUs match a pool",
    reason="a selector no node carries leaves the pod pending for ever; a toleration too few does the same",
    key="models.<model>.pool",
    fix="name a pool of this stack, and leave labels and taints to it",
    scope="stack",
)
def placement(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    places: list[tuple[dict[str, str], list[tuple[str, str, str]]]] = []

    def add_pool(pool: Pool) -> Iterator[Outcome]:
        places.append((pool.labels, pool.taints))
        yield from ()

    gpus = gpu_pools(graph)
    unread = list(each(gpus, add_pool, "stack:pools"))

    def add_node(node: Resource) -> Iterator[Outcome]:
        labels = {key: str(value) for key, value in (get_path(node.inputs, "metadata.labels") or {}).items()}
        taints = get_path(node.inputs, "spec.taints") or ()
        places.append((labels, [(str(t["key"]), str(get_path(t, "value", "")), str(t["effect"])) for t in taints]))
        yield from ()

    unread += each(graph.of_kind("NodePatch"), add_node, "stack:pools")
    yield from unread
    if unread:
        return  # a pod may belong to the one that nobody can read yet
    if not places and not gpus:
        return  # another stack or a provisioner creates the nodes: their labels are not in this graph

    def judge_pod(pod: Pod) -> Iterator[Outcome]:
        if not pod.gpus:
            return
        alternatives = choices(pod.spec)
        if not alternatives:
            yield pod.owner.violation(f"{pod.at}.nodeSelector", "is missing: the pod may land in any pool")
        for choice in alternatives:
            fitting = [taints for labels, taints in places if choice.takes(labels)]
            if not fitting:
                yield pod.owner.violation(f"{pod.at}.{choice.at}", f"matches no pool: {choice.keys}")
            elif not any(all(_tolerated(taint, pod.spec) for taint in taints) for taints in fitting):
                yield pod.owner.violation(f"{pod.at}.tolerations", "do not cover the taints of the pool it selects")

    yield from each(pods(graph), judge_pod, "stack:models")


def _tolerated(taint: tuple[str, str, str], spec: object) -> bool:
    key, value, effect = taint
    if effect == "PreferNoSchedule":
        return True
    for toleration in get_path(spec, "tolerations") or ():
        same_key = get_path(toleration, "key", "") in (key, "")
        same_value = (
            get_path(toleration, "operator", "Equal") == "Exists" or str(get_path(toleration, "value", "")) == value
        )
        if same_key and same_value and get_path(toleration, "effect", effect) == effect:
            return True
    return False


@rule(
    id="pod-security",
    title="Every namespace enforces the restricted profile, and every pod fits it",
    reason="a pod that may become root on its node has the weights, keys and neighbours of that node",
    key="models.<model>.extraArgs",
    fix="leave the security context to the product; namespaces of vendors stand in infra/policies/settings.yaml",
    scope="stack",
)
def pod_security(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    def judge_namespace(namespace: Resource) -> Iterator[Outcome]:
        if namespace.object_name in settings.exempt_namespaces:
            return
        labels = get_path(namespace.inputs, "metadata.labels", {})
        if labels.get(_ENFORCE) != "restricted":
            yield namespace.violation("metadata.labels", "does not enforce pod-security.kubernetes.io: restricted")
        if labels.get(f"{_ENFORCE}-version", "latest") != "latest":
            yield namespace.violation("metadata.labels", "enforces the profile of an older version")

    def judge_volume(volume: Resource) -> Iterator[Outcome]:
        # the lab's machine keeps the weights in a folder of its own
        if settings.environment != "local" and any(get_path(volume.inputs, f"spec.{kind}") for kind in _OF_NODES):
            yield volume.violation("spec", "is a folder of a node, which whoever claims it may write")

    yield from each(graph.of_kind("Namespace"), judge_namespace, "stack:")
    yield from each(graph.of_kind("PersistentVolume"), judge_volume, "stack:")
    yield from each(pods(graph), _powers, "stack:")


_ENFORCE = "pod-security.kubernetes.io/enforce"
_OF_NODES = ("hostPath", "local")
# Source: Kubernetes documentation, Pod Security Standards, Restricted: volume types
_VOLUMES = frozenset(
    ["name", "configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"]
)


def _powers(pod: Pod) -> Iterator[Outcome]:
    """Yield what a pod may do beyond the restricted profile; namespaces that enforce none are no excuse."""
    for key in ("hostNetwork", "hostPID", "hostIPC"):
        if get_path(pod.spec, key):
            yield pod.owner.violation(f"{pod.at}.{key}", "shares the node with the pod")
    for volume in get_path(pod.spec, "volumes") or ():
        if volume.keys() - _VOLUMES:
            what = "mounts a folder of the node" if "hostPath" in volume else "mounts what is no volume of the profile"
            yield pod.owner.violation(f"{pod.at}.volumes", what)
        if any("serviceAccountToken" in source for source in get_path(volume, "projected.sources") or ()):
            yield pod.owner.violation(f"{pod.at}.volumes", "mounts a token of its service account")
    for path, container in pod.containers():
        if any(get_path(port, "hostPort") for port in get_path(container, "ports") or ()):
            yield pod.owner.violation(f"{path}.ports", "listens on a port of the node")
        yield from (pod.owner.violation(f"{path}.securityContext", text) for text in _missing(pod, container))


def _missing(pod: Pod, container: Any) -> Iterator[str]:
    own, shared = get_path(container, "securityContext", {}), get_path(pod.spec, "securityContext", {})
    if own.get("privileged"):
        yield "is privileged"
    if own.get("allowPrivilegeEscalation") is not False:
        yield "may gain privileges"
    if "ALL" not in (get_path(own, "capabilities.drop") or ()) or get_path(own, "capabilities.add"):
        yield "keeps capabilities"
    if own.get("procMount", "Default") != "Default":
        yield "sees the processes of its node"
    is_zero = own.get("runAsUser", shared.get("runAsUser")) == 0
    if is_zero or own.get("runAsNonRoot", shared.get("runAsNonRoot")) is not True:
        yield "may run as root"
    if get_path(own, "seccompProfile.type", get_path(shared, "seccompProfile.type")) not in (
        "RuntimeDefault",
        "Localhost",
    ):
        yield "has no seccomp profile"


@rule(
    id="probes-and-grace",
    title="Pods with GPUs have probes, and a grace that covers their drain",
    reason="without a startup probe a long load is killed; with too short a grace running answers are cut",
    key="models.<model>.drain",
    fix="leave probes and grace to the product; coldStart and drain set them",
    scope="resource",
    types=TYPES,
)
def probes_and_grace(resource: Resource, settings: Settings) -> Iterator[Outcome]:
    for pod in pods_of(resource):
        if pod.gpus:
            yield from _pod(resource, pod)


def _pod(resource: Resource, pod: Pod) -> Iterator[Outcome]:
    grace = get_path(pod.spec, "terminationGracePeriodSeconds", 30)
    for path, container in pod.main_containers():
        # a headless engine has nothing to probe, and its leader's probes cover the whole group
        quiet = pod.led and "--headless" in flags(container)
        for probe in () if quiet else ("startupProbe", "readinessProbe", "livenessProbe"):
            if probe not in container:
                yield resource.violation(f"{path}.{probe}", "is missing")
        before = get_path(container, "lifecycle.preStop.sleep.seconds", 0)
        drain = flags(container).get("--shutdown-timeout")
        if drain is None:
            yield resource.violation(f"{path}.args", "has no --shutdown-timeout: running answers are cut at once")
        elif grace <= before + float(drain):
            message = f"is {grace} s, not above preStop {before} s + drain {drain} s"
            yield resource.violation(f"{pod.at}.terminationGracePeriodSeconds", message)
