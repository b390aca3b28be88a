"""One model's Deployment or LeaderWorkerSet, disruption budget and Service: pure, camelCase, ready to send."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pulumi

from components.model_service import chat_template, host_memory, lora_adapters
from components.model_service.arguments import CACHE, engine_arguments, engine_environment, streams
from components.model_service.settings import MODEL_LABEL, PORT, SERVICE_ACCOUNT, ModelSettings
from components.model_service.timing import (
    CANARY_FAILURES,
    CANARY_PERIOD_SECONDS,
    CANARY_TIMEOUT_SECONDS,
    PRE_STOP_SECONDS,
    WEDGED_GRACE_SECONDS,
    canary_patience_seconds,
    startup_budget_seconds,
    termination_grace_seconds,
)
from components.platforms.contract import Pool, Weights
from components.pods import STAYS, confined_container, confined_pod

Manifest = dict[str, Any]

UID: Final = 10001
SKIP_AWAIT: Final = {"pulumi.com/skipAwait": "true"}
API: Final = "leaderworkerset.x-k8s.io/v1"
KIND: Final = "LeaderWorkerSet"
_MOST_WEIGHT: Final = 100  # for a node preference: Kubernetes takes 1 to 100


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Nodes, image and weights of a model. ``image`` is a reference by digest; ``pod_labels`` come from the identity;
    ``fallbacks`` are pools with the same GPUs, in order, for when ``pool`` has no node to give; ``priority_class`` is
    the one by which a quota counts instances."""

    namespace: str
    pool: Pool
    image: pulumi.Input[str]
    weights: Weights
    pod_labels: Mapping[str, str] = field(default_factory=dict)
    fallbacks: tuple[Pool, ...] = ()
    priority_class: str | None = None


def selector(model: ModelSettings) -> dict[str, str]:
    """Return the labels by which the Service, the NetworkPolicy and the budget find this model's pods."""
    return {"app.kubernetes.io/name": model.name, MODEL_LABEL: model.name}


LEADERS: Final = {"leaderworkerset.sigs.k8s.io/worker-index": "0"}
"""Label that LeaderWorkerSet puts on the one pod of a replica that answers."""


def deployment(model: ModelSettings, place: Placement) -> Manifest:
    """Return the ``apps/v1 Deployment``. ``replicas`` is only the number to start with: KEDA owns it afterwards.

    Raises ``ValueError`` for settings the engine cannot be started with and for a volume that restricted Pod Security
    refuses.
    """
    budget = startup_budget_seconds(model.cold_start_seconds, model.hold_seconds)
    return {
        "metadata": {**metadata(model, place), "annotations": dict(SKIP_AWAIT)},
        "spec": {
            "replicas": model.min_replicas,
            "revisionHistoryLimit": 2,
            "progressDeadlineSeconds": budget + termination_grace_seconds(model.drain_seconds) + 60,
            "selector": {"matchLabels": selector(model)},
            "strategy": _strategy(model),
            "template": template(model, place),
        },
    }


def template(model: ModelSettings, place: Placement, headless: bool = False) -> Manifest:
    """Return a pod's template: ``pod`` with the labels by which it is found."""
    annotations = chat_template.pod_annotations(model)
    return {
        "metadata": {"labels": {**place.pod_labels, **selector(model)}, "annotations": {**STAYS, **annotations}},
        "spec": pod(model, place, headless),
    }


def service(model: ModelSettings, place: Placement) -> Manifest:
    """Return the ``v1 Service`` for the pods that answer. Not awaited: a sleeping model's Service rightly has no
    endpoint."""
    return {
        "metadata": {**metadata(model, place), "annotations": dict(SKIP_AWAIT)},
        "spec": {
            "type": "ClusterIP",
            "selector": {**selector(model), **(LEADERS if model.is_group else {})},
            "ports": [{"name": "http", "port": PORT, "targetPort": "http", "protocol": "TCP"}],
        },
    }


def disruption_budget(model: ModelSettings, place: Placement) -> Manifest | None:
    """Return the ``policy/v1 PodDisruptionBudget`` if two replicas always run; below that it would only block node
    drains.
    """
    if model.min_replicas < 2:
        return None
    return {
        "metadata": metadata(model, place),
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(model)}},
    }


def metadata(model: ModelSettings, place: Placement) -> Manifest:
    """Return name, namespace and labels of a model's objects."""
    return {"name": model.name, "namespace": place.namespace, "labels": selector(model)}


def _strategy(model: ModelSettings) -> Manifest:
    """Return a strategy by which an update never needs a GPU more than the model has: there may be none, and the quota
    counts it.

    One replica: wait until the old pod is gone, so that no new one is created against a full quota. Several: one by
    one, the others go on answering.
    """
    if model.max_replicas == 1:
        return {"type": "Recreate"}
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}}


def pod(model: ModelSettings, place: Placement, headless: bool = False) -> Manifest:
    """Return a pod's spec. ``headless``: one of the machines of a replica that serve no requests.

    Raises ``ValueError`` as ``deployment`` does.
    """
    volumes = [
        *_scratch_volumes(model),
        *chat_template.volumes(model),
        *lora_adapters.volumes(model),
        *(dict(volume) for volume in place.weights.volumes),
    ]
    for volume in volumes:
        if "hostPath" in volume:
            raise ValueError(
                f"{model.name}: volume {volume['name']} is a hostPath, which restricted Pod Security refuses: "
                "offer the folder as a PersistentVolume and mount its claim"
            )
    copying = lora_adapters.copying(model, place.weights, place.image)
    return {
        "serviceAccountName": SERVICE_ACCOUNT,
        "automountServiceAccountToken": False,
        # a Service called `vllm` would set VLLM_PORT=tcp://… in every pod, and the engine reads that variable
        "enableServiceLinks": False,
        **({"priorityClassName": place.priority_class} if place.priority_class and not headless else {}),
        **where((place.pool, *place.fallbacks)),
        "terminationGracePeriodSeconds": termination_grace_seconds(model.drain_seconds),
        "securityContext": confined_pod(UID),
        **({"initContainers": copying} if copying else {}),
        "containers": [_container(model, place, headless)],
        "volumes": volumes,
    }


def _container(model: ModelSettings, place: Placement, headless: bool) -> Manifest:
    gpus = {place.pool.gpu_resource: str(model.gpus)}
    turns = place.pool.turns
    pools = (place.pool, *place.fallbacks)
    streamed, there = streams(place.weights), host_memory.pod_bytes(pools, model.gpus)
    buffer = host_memory.buffer_bytes(there, model.gpus) if streamed and there is not None else None
    environment = engine_environment(model, place.weights, turns, buffer)
    requests = {**host_memory.requests(pools, model.gpus, streams=streamed), **model.requests}
    return {
        "name": "vllm",
        "image": place.image,
        "imagePullPolicy": "IfNotPresent",
        "args": engine_arguments(model, place.weights, place.pool.device, headless, turns),
        "env": [{"name": key, "value": value} for key, value in environment.items()],
        **({} if headless else {"ports": [{"name": "http", "containerPort": PORT, "protocol": "TCP"}]}),
        # GPUs only as limits and requests alike: Kubernetes allows no difference for an extended resource
        "resources": {"limits": gpus, "requests": {**requests, **gpus}},
        # the last of the log becomes the container's message, from which the wake keeper says why an engine ended
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": confined_container(),
        **({} if headless else _probes(model)),
        "lifecycle": {"preStop": {"sleep": {"seconds": PRE_STOP_SECONDS}}},
        "volumeMounts": [
            {"name": "shared-memory", "mountPath": "/dev/shm"},  # noqa: S108  what NCCL and the workers talk through
            {"name": "cache", "mountPath": CACHE},
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            *chat_template.mounts(model),
            *lora_adapters.mounts(model),
            *(dict(mount) for mount in place.weights.mounts),
        ],
    }


def _probes(model: ModelSettings) -> Manifest:
    health = {"httpGet": {"path": "/health", "port": "http"}}
    return {
        # every second: a held request waits for the next probe, and the engine does not listen before it is ready
        "startupProbe": {
            **health,
            "periodSeconds": 1,
            "timeoutSeconds": 3,
            "failureThreshold": startup_budget_seconds(model.cold_start_seconds, model.hold_seconds),
        },
        # patient: a replica that is busy is not a replica that is gone
        "readinessProbe": {**health, "periodSeconds": 2, "timeoutSeconds": 5, "failureThreshold": 5},
        # /health says 200 while the engine process behind it is wedged: this one asks for a sign that it computes
        "livenessProbe": {
            "exec": {"command": _canary(model)},
            "periodSeconds": CANARY_PERIOD_SECONDS,
            "timeoutSeconds": CANARY_TIMEOUT_SECONDS,
            "failureThreshold": CANARY_FAILURES,
            "terminationGracePeriodSeconds": WEDGED_GRACE_SECONDS,
        },
    }


def _canary(model: ModelSettings) -> list[str]:
    """Return the command of ``images/vllm/canary.py``, without site packages: importing them would cost more than the
    probe.
    """
    patience = canary_patience_seconds(model.stall_seconds)
    return ["python3", "-I", "-S", "/usr/local/bin/canary.py", str(PORT), model.name, str(patience)]


def _scratch_volumes(model: ModelSettings) -> list[Manifest]:
    size = f"{host_memory.SHARED_MEMORY_GIB * model.gpus}Gi"
    return [
        {"name": "shared-memory", "emptyDir": {"medium": "Memory", "sizeLimit": size}},
        {"name": "cache", "emptyDir": {}},
        {"name": "tmp", "emptyDir": {}},
    ]


def where(pools: Sequence[Pool]) -> dict[str, Any]:
    """Return the part of a pod's spec that says on which nodes it may run; ``pools`` in order of preference, none
    twice.

    One pool is a plain selector. Several are required as alternatives, one term each, whatever labels they carry, and
    preferred with falling weights; the last needs no term. The scheduler weighs the preferences among nodes that are
    there. Karpenter treats the heaviest as required and drops it when no such node can be had. Kubernetes' cluster
    autoscaler does not read preferences: a place that installs it passes it the order (``PoolRequest.preference``).
    Source: kubernetes-sigs/karpenter, provisioning/scheduling/preferences.go; cluster autoscaler FAQ.
    """
    first, *rest = pools
    if not rest:
        return {"nodeSelector": dict(first.labels), "tolerations": first.tolerations()}
    affinity = {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [_term(pool) for pool in pools]},
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": max(1, _MOST_WEIGHT * (len(rest) - place) // len(rest)), "preference": _term(pool)}
            for place, pool in enumerate(pools[:-1])
        ],
    }
    tolerations: list[dict[str, str]] = []
    for pool in pools:
        tolerations += [each for each in pool.tolerations() if each not in tolerations]
    return {"affinity": {"nodeAffinity": affinity}, "tolerations": tolerations}


def _term(pool: Pool) -> dict[str, Any]:
    """Return a term for the nodes that carry all of the pool's labels."""
    return {
        "matchExpressions": [{"key": key, "operator": "In", "values": [value]} for key, value in pool.labels.items()]
    }


def leader_worker_set(model: ModelSettings, place: Placement) -> dict[str, Any]:
    """Return the ``LeaderWorkerSet`` for a model larger than a machine: each replica is a group of pods, one a machine,
    that compute as one engine. ``replicas`` (of groups) is only the number to start with: KEDA owns it afterwards.

    The leader is a model's pod like any other: it answers, carries the probes and drains. The others run the same
    engine headless. A restart of one pod recreates its whole group: an engine that lost a part cannot go on. An update
    replaces one group at a time and never needs a GPU more than the model has. Raises ``ValueError`` as ``deployment``
    does, and for one machine a replica.
    """
    if not model.is_group:
        raise ValueError(f"{model.name}: nodes is {model.nodes}; one machine a replica is a Deployment's")
    return {
        "metadata": {**metadata(model, place), "annotations": dict(SKIP_AWAIT)},
        "spec": {
            "replicas": model.min_replicas,
            # all at once: the leader does not get ready before the others have joined it
            "startupPolicy": "LeaderCreated",
            "rolloutStrategy": {
                "type": "RollingUpdate",
                "rollingUpdateConfiguration": {"maxSurge": 0, "maxUnavailable": 1},
            },
            # a name for each group: a shared one would be the name of the model's Service, which is there already
            "networkConfig": {"subdomainPolicy": "UniquePerReplica"},
            "leaderWorkerTemplate": {
                "size": model.nodes,
                "restartPolicy": "RecreateGroupOnPodRestart",
                "leaderTemplate": template(model, place),
                "workerTemplate": template(model, place, headless=True),
            },
        },
    }
