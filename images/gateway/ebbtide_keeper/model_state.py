"""State of a model, from its Deployment and pods as the cluster shows them: pure. For several machines: ``groups.py``.

A wake fails when every pod it has fails: one that still loads may yet answer, and a surplus replica that finds no room
is no failure. A pod on its way out is no longer part of any wake.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from ebbtide_kube.wake_progress import NODE_MADE_SECONDS

from .causes import (
    CRASHES,
    IMAGE,
    IMAGE_DENIED,
    NO_IMAGE,
    NO_NEW_NODE,
    NO_NODE,
    TOO_LONG,
    Cause,
    of_ends,
    of_refusal,
)
from .image_pull import outcome
from .settings import Model

Object = Mapping[str, Any]

CERTAIN_SECONDS = 5.0
"""How long a refusal must stand: the scheduler and the quota are a moment behind a pod that just went."""

RESTARTS = 2
"""An engine that ended once may have met a passing fault; if it ended twice, it met the cause again."""

PULL_SHARE = 0.5
"""Part of ``coldStart`` within which a pull may fail and be tried again, from the pod's arrival on its node: there the
runtime starts anew, a registry answers 429, a name is not known yet. The kubelet tries after 10 s, 20 s, 40 s, ….
"""

_STATUS_WRITTEN_WITHIN = timedelta(seconds=5)


@dataclass(frozen=True)
class ModelState:
    """State of a model. ``since``: when the load began, or what makes it fail. ``cause`` only with ``failing``."""

    what: Literal["asleep", "loading", "ready", "failing"]
    since: datetime | None = None
    cause: Cause | None = None


@dataclass(frozen=True)
class Observation:
    """One model in the cluster: its Deployment or LeaderWorkerSet, and its pods. ``room_since``: the last moment at
    which some pod of the namespace was still on its way out, with GPUs that this model may be waiting for.
    """

    workload: Object
    pods: Sequence[Object] = ()
    room_since: datetime | None = None


def judge(observation: Observation, model: Model, now: datetime) -> ModelState:
    """Return what the model is doing at ``now``."""
    if int(observation.workload.get("spec", {}).get("replicas", 1)) == 0:
        return ModelState("asleep")
    live = [pod for pod in observation.pods if is_live(pod)]
    if not live:
        return _without_pod(observation, model, now)
    if any(_is(pod, "Ready", "True") for pod in live):
        return ModelState("ready")
    states = [of_pod(pod, observation, model, now) for pod in live]
    begun = min(doing.since or now for doing in states)
    if all(doing.what == "failing" for doing in states):
        return next(doing for doing in states if doing.what == "failing")
    if now - begun >= timedelta(seconds=model.hold_seconds):
        return ModelState("failing", begun, TOO_LONG)
    return ModelState("loading", begun)


def _without_pod(observation: Observation, model: Model, now: datetime) -> ModelState:
    condition = _condition(observation.workload, "ReplicaFailure", "True")
    if condition is None:
        return ModelState("loading", now)
    since = _time(condition["lastTransitionTime"])
    if now < _patience(since, observation.room_since, model):
        return ModelState("loading", since)
    return ModelState("failing", since, of_refusal(str(condition.get("message", ""))))


def _patience(since: datetime, room_since: datetime | None, model: Model) -> datetime:
    """Return until when a refused pod may still come. The quota counts a pod that went for a moment longer, and
    Kubernetes doubles its pauses between tries: the first try that finds room can be as far away as the wait until
    then was long.
    """
    certain = timedelta(seconds=CERTAIN_SECONDS)
    room = room_since + certain - since if room_since is not None else timedelta()
    return since + min(max(2 * room, certain), timedelta(seconds=model.hold_seconds))


def of_pod(pod: Object, observation: Observation, model: Model, now: datetime) -> ModelState:
    """Return the state of one live pod that is not ready."""
    lost = _lost_readiness(pod)
    since = lost or _time(pod["metadata"]["creationTimestamp"])
    cause = _no_node(pod, observation, model, now) or _of_pull(pod, since, model, now) or _of_containers(pod, lost)
    return ModelState("loading", since) if cause is None else ModelState("failing", since, cause)


def _no_node(pod: Object, observation: Observation, model: Model, now: datetime) -> Cause | None:
    condition = _condition(pod, "PodScheduled", "False")
    if condition is None or not is_refused_a_node(pod):
        return None
    refused = _time(condition.get("lastTransitionTime") or pod["metadata"]["creationTimestamp"])
    if model.growable:
        return NO_NEW_NODE if now - refused >= timedelta(seconds=model.cold_start_seconds) else None
    room = max(refused, observation.room_since or refused)
    lease = refused + timedelta(seconds=model.hold_seconds)
    return NO_NODE if now >= min(room + timedelta(seconds=CERTAIN_SECONDS), lease) else None


def _of_pull(pod: Object, since: datetime, model: Model, now: datetime) -> Cause | None:
    """Return why an image will not come. Whoever may yet get it has a part of the cold start for it."""
    waits = [status.get("state", {}).get("waiting", {}) for status in containers(pod)]
    outcomes = {outcome(str(each.get("reason", "")), str(each.get("message", ""))) for each in waits}
    if "never" in outcomes:
        return NO_IMAGE
    if not outcomes & {"maybe", "denied"}:
        return None
    scheduled = _condition(pod, "PodScheduled", "True") or {}
    arrived = max(since, _time(scheduled.get("lastTransitionTime") or pod["metadata"]["creationTimestamp"]))
    is_patient = now - arrived < timedelta(seconds=model.cold_start_seconds * PULL_SHARE)
    if "denied" in outcomes:
        # the right of a new node to the registry may still be on its way
        node_made = arrived - since > timedelta(seconds=NODE_MADE_SECONDS)
        return None if model.growable and node_made and is_patient else IMAGE_DENIED
    return None if is_patient else IMAGE


def _of_containers(pod: Object, lost: datetime | None) -> Cause | None:
    """Return the cause of a failed start that the containers show. The end of an engine that was ready until then, when
    the pod ``lost`` its readiness, is no failed start: the kubelet restarts it, after a pause if that happens often,
    and the wake's time runs from there.
    """
    for status in containers(pod):
        waits = status.get("state", {}).get("waiting", {}).get("reason")
        ended = ends(status)
        if ended and lost is not None and _began(ended[0]) <= lost:
            continue
        cause = of_ends(ended)
        if waits == "CrashLoopBackOff":
            return cause or CRASHES
        if ended and lost is None and (cause is not None or int(status.get("restartCount", 0)) >= RESTARTS):
            return cause or CRASHES
    return None


def _began(end: Object) -> datetime:
    """Return when the ended run of a container began; the earliest time there is if that is not recorded."""
    return _time(end["startedAt"]) if end.get("startedAt") else datetime.min.replace(tzinfo=UTC)


def ends(status: Object) -> list[Object]:
    """Return how a container ended, now and the time before, if it did; the latest first."""
    states = (status.get("state", {}), status.get("lastState", {}))
    return [state["terminated"] for state in states if "terminated" in state]


def containers(pod: Object) -> list[Object]:
    """Return the status of each container of a pod, including the init containers."""
    status = pod.get("status", {})
    return [*(status.get("initContainerStatuses") or ()), *(status.get("containerStatuses") or ())]


def _lost_readiness(pod: Object) -> datetime | None:
    """Return when a pod that was ready ceased to be. The kubelet writes ``Ready: False`` with its first status of a
    pod, and the time only moves with a change: a later one means that it was ready in between.
    """
    condition = _condition(pod, "Ready", "False")
    started = pod.get("status", {}).get("startTime")
    if condition is None or started is None or not condition.get("lastTransitionTime"):
        return None
    moved = _time(condition["lastTransitionTime"])
    return moved if moved - _time(started) > _STATUS_WRITTEN_WITHIN else None


def is_live(pod: Object) -> bool:
    """Return True if a pod may still answer: it is not on its way out and has not ended."""
    ended = pod.get("status", {}).get("phase") in ("Failed", "Succeeded")
    return "deletionTimestamp" not in pod["metadata"] and not ended


def is_ready(pod: Object) -> bool:
    """Return True if a pod takes requests."""
    return "deletionTimestamp" not in pod["metadata"] and _is(pod, "Ready", "True")


def ready_at(pod: Object) -> datetime | None:
    """Return since when a pod takes requests, in whole seconds; None: it takes none."""
    condition = _condition(pod, "Ready", "True")
    return _time(condition["lastTransitionTime"]) if condition is not None and is_ready(pod) else None


def has_node(pod: Object) -> bool:
    """Return True if a pod has been given a node."""
    return _is(pod, "PodScheduled", "True")


def is_refused_a_node(pod: Object) -> bool:
    """Return True if no node has room for a pod."""
    condition = _condition(pod, "PodScheduled", "False")
    return condition is not None and condition.get("reason") == "Unschedulable"


def _is(item: Object, kind: str, status: str) -> bool:
    return _condition(item, kind, status) is not None


def _condition(item: Object, kind: str, status: str) -> Object | None:
    for condition in item.get("status", {}).get("conditions") or ():
        if condition.get("type") == kind and condition.get("status") == status:
            return dict(condition)
    return None


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text)
