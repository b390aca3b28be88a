"""State of a model on several machines, from its LeaderWorkerSet and pods as the cluster shows them: pure.

A group answers when its leader is ready, and fails when any of its pods does: the others wait for that one. It is
recreated as a whole when one of its pods ends, so the pods show neither how often that happened nor since when the
model loads: a ``Wake`` remembers it from look to look. A restarted keeper begins to count anew, and fails nothing
sooner.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from .causes import CRASHES, NOT_WHOLE, TOO_LONG, Cause, of_ends
from .model_state import RESTARTS, ModelState, Object, Observation, containers, ends, is_live, is_ready, of_pod
from .settings import Model

GROUP, WORKER = "leaderworkerset.sigs.k8s.io/group-index", "leaderworkerset.sigs.k8s.io/worker-index"
WHOLE_SECONDS = 120.0
"""How long a group may lack a pod. The reason why a StatefulSet's pod is refused is in Events alone, which are not
read.
"""


@dataclass(frozen=True)
class Wake:
    """Load in progress, first noticed at ``since``. ``whole``: when it last lacked no pod, or was about to be
    recreated. By group: ``tries``, the uids of its leaders so far, and ``reported``, the cause that the end of one of
    its engines stated. ``pods``: the uids of all its pods so far; a leaving pod that is not among them belongs to an
    earlier load.
    """

    since: datetime
    whole: datetime
    pods: frozenset[str] = frozenset()
    tries: Mapping[str, frozenset[str]] = field(default_factory=dict)
    reported: Mapping[str, Cause] = field(default_factory=dict)


def follow(before: Wake | None, observation: Observation, model: Model, now: datetime) -> Wake | None:
    """Return what is known of the load after another look. None: no replica is wanted, or the model answers."""
    desired, groups = _desired(observation), _groups(observation.pods)
    if not desired or any(is_ready(pod) for pods in groups.values() for pod in pods if _leads(pod)):
        return None
    wake = before or Wake(now, now)
    live = {group: [pod for pod in pods if is_live(pod)] for group, pods in groups.items()}
    known = wake.pods.union(_uid(pod) for pods in live.values() for pod in pods)
    leaders = {group: frozenset(_uid(pod) for pod in pods if _leads(pod)) for group, pods in live.items()}
    causes = {group: _reported_cause([pod for pod in pods if _uid(pod) in known]) for group, pods in groups.items()}
    changing = any("deletionTimestamp" in pod["metadata"] for pod in observation.pods)
    whole = all(len(live.get(group, ())) >= model.machines for group in desired)
    return replace(
        wake,
        whole=now if whole or changing else wake.whole,
        pods=known,
        tries={**wake.tries, **{group: wake.tries.get(group, frozenset()) | new for group, new in leaders.items()}},
        reported={**{group: cause for group, cause in causes.items() if cause is not None}, **wake.reported},
    )


def judge_group(observation: Observation, wake: Wake | None, model: Model, now: datetime) -> ModelState:
    """Return what the model is doing at ``now``; ``wake`` is what ``follow`` returned for it."""
    desired, groups = _desired(observation), _groups(observation.pods)
    if not desired:
        return ModelState("asleep")
    if wake is None:
        return ModelState("ready")
    causes = [
        _cause(group, [pod for pod in groups[group] if is_live(pod)], observation, wake, model, now)
        for group in desired
    ]
    if all(cause is not None for cause in causes):
        return ModelState("failing", wake.since, causes[0])
    if now - wake.since >= timedelta(seconds=model.hold_seconds):
        return ModelState("failing", wake.since, TOO_LONG)
    return ModelState("loading", wake.since)


def _cause(
    group: str, live: Sequence[Object], observation: Observation, wake: Wake, model: Model, now: datetime
) -> Cause | None:
    """Return why a group will not answer, or None."""
    if (reported := wake.reported.get(group)) is not None:
        return reported
    if len(wake.tries.get(group, ())) > RESTARTS:
        return CRASHES
    of_one = next(
        (doing.cause for doing in (of_pod(pod, observation, model, now) for pod in live) if doing.cause), None
    )
    lacks = len(live) < model.machines and now - wake.whole >= timedelta(seconds=WHOLE_SECONDS)
    return NOT_WHOLE if of_one is None and lacks else of_one


def _reported_cause(pods: Sequence[Object]) -> Cause | None:
    """Return the cause that the end of some engine states."""
    return of_ends(end for pod in pods for container in containers(pod) for end in ends(container))


def _desired(observation: Observation) -> list[str]:
    return [str(index) for index in range(int(observation.workload.get("spec", {}).get("replicas", 1)))]


def _groups(pods: Sequence[Object]) -> Mapping[str, list[Object]]:
    """Return the pods by group, also those on their way out."""
    groups: dict[str, list[Object]] = defaultdict(list)
    for pod in pods:
        if GROUP in pod["metadata"]["labels"]:  # a model that was a Deployment before may still have others
            groups[str(pod["metadata"]["labels"][GROUP])].append(pod)
    return groups


def _uid(pod: Object) -> str:
    return str(pod["metadata"]["uid"])


def _leads(pod: Object) -> bool:
    return bool(pod["metadata"]["labels"].get(WORKER) == "0")
