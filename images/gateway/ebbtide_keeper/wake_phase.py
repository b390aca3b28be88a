"""Phase of a wake, from the model's pods as the cluster shows them, and what is to be noted of it: pure.

Nodes and logs are not read, so the driver counts to the node and the weights to the engine.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from ebbtide_kube.wake_progress import (
    ANNOTATION,
    LAST_WAKES,
    PHASES,
    Phase,
    WakeProgress,
    current_wake,
    last_wakes,
    last_wakes_text,
)

from .groups import GROUP
from .model_state import ModelState, Object, containers, ends, has_node, is_live, is_refused_a_node, ready_at
from .settings import Model


def phase_of(pods: Sequence[Object], machines: int) -> Phase:
    """Return the phase of the replica that is furthest. A group of ``machines`` pods is as far as its last pod."""
    live = [pod for pod in pods if is_live(pod)]
    if machines == 1:
        return max((_of_pod(pod) for pod in live), key=PHASES.index, default="decision")
    groups: dict[str, list[Object]] = defaultdict(list)
    for pod in live:
        groups[str(pod["metadata"]["labels"].get(GROUP))].append(pod)
    whole = [group for group in groups.values() if len(group) >= machines]
    return max((min(map(_of_pod, group), key=PHASES.index) for group in whole), key=PHASES.index, default="decision")


def _of_pod(pod: Object) -> Phase:
    if not has_node(pod):
        return "node" if is_refused_a_node(pod) else "decision"
    begun = any("running" in status.get("state", {}) or ends(status) for status in containers(pod))
    return "engine" if begun else "image"


def notes(
    doing: ModelState,
    pods: Sequence[Object],
    model: Model,
    annotations: Mapping[str, str],
    now: datetime,
    woken_at: datetime | None,
) -> dict[str, str | None]:
    """Return the annotations to change. ``woken_at``: when the model that slept was seen to wake; None: it was not.

    A wake that goes on for longer than its hold is an earlier one, whose end no keeper saw.
    """
    before = current_wake(annotations)
    if before is not None and now - before.began > timedelta(seconds=model.hold_seconds):
        before = None
    if doing.what == "loading":
        phase = phase_of(pods, model.machines)
        begun = before or WakeProgress(phase, woken_at or now, now, teaches=woken_at is not None)
        after = begun.advanced(phase, now)
        return {} if after == before else {ANNOTATION: after.text()}
    if before is None:
        return {ANNOTATION: None} if ANNOTATION in annotations else {}
    seconds = before.finished(_ready_since(pods, now)) if doing.what == "ready" else None
    learnt = {} if seconds is None else {LAST_WAKES: last_wakes_text([*last_wakes(annotations), seconds])}
    return {ANNOTATION: None, **learnt}


def _ready_since(pods: Sequence[Object], now: datetime) -> datetime:
    """Return when the first of the pods was ready: a keeper that was away sees it late."""
    return min((moment for pod in pods if (moment := ready_at(pod)) is not None and moment < now), default=now)
