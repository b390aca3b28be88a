"""Last end of a model's engine by itself, kept on its ScaledObject and reported in an Event, since its log goes with
it; and the Event for a failed wake.

From the container's message only the errors are kept, by name and text, without what they quote: a quotation may be a
prompt, a key or an address.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from ebbtide_kube.wake_failure import WakeFailure, written

from .model_state import Object, containers, ends

ANNOTATION = "ebbtide.dev/last-engine-end"
_STOP_CODES = frozenset({0, 137, 143})
_MOST_ERRORS, _LETTERS_OF_AN_ERROR = 3, 240
COMPONENT = "ebbtide-wake-keeper"
_LETTERS_OF_AN_EVENT = 1024

_ERROR = re.compile(r"(?:^|[\]\s])((?:\w+\.)*[A-Z]\w*(?:Error|Exception|Exit|Interrupt|Failure)): ?(.*)$", re.M)
_QUOTED = re.compile(r"""(['"`])(?![A-Z]\w+: )(?:(?!\1).)+(?:\1|$)""")  # an error within an error stays
_SECRET = re.compile(r"\S{32,}|\b(?:sk-|hf_|ghp_|AKIA|Bearer )\S+|\S+://\S+|(?<!\S)/\S+")


@dataclass(frozen=True)
class EngineEnd:
    """End of an engine. ``at`` as Kubernetes writes times. ``errors``: from the container's message, safe to keep, last
    one last.
    """

    at: str
    pod: str
    exit_code: int
    reason: str
    errors: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the value of the annotation."""
        return json.dumps(asdict(self))

    def sentence(self) -> str:
        """Return one sentence for people."""
        details = "; ".join(self.errors) or "it said no error"
        return f"the engine in {self.pod} ended at {self.at} ({self.reason}, exit code {self.exit_code}): {details}"


def last_end(pods: Iterable[Object]) -> EngineEnd | None:
    """Return the latest end of a container that was not asked to stop."""
    engine_ends = [
        EngineEnd(
            str(end.get("finishedAt", "")),
            str(pod["metadata"]["name"]),
            int(end.get("exitCode", -1)),
            str(end.get("reason", "")),
            errors(str(end.get("message", ""))),
        )
        for pod in pods
        for status in containers(pod)
        for end in ends(status)
        if "deletionTimestamp" not in pod["metadata"] or end.get("exitCode") not in _STOP_CODES
    ]
    return max(engine_ends, key=lambda end: end.at, default=None)


def is_news(end: EngineEnd, annotations: Mapping[str, str]) -> bool:
    """Return True if the annotation holds an earlier end, or none."""
    try:
        return str(json.loads(annotations[ANNOTATION])["at"]) < end.at
    except (KeyError, ValueError, TypeError):
        return True


def errors(log: str) -> tuple[str, ...]:
    """Return the last errors that a log names, each once, without quotations, paths, addresses and keys."""
    named = [f"{name}: {_safe(text)}"[:_LETTERS_OF_AN_ERROR].strip(": ") for name, text in _ERROR.findall(log)]
    return tuple(dict.fromkeys(named))[-_MOST_ERRORS:]


def _safe(text: str) -> str:
    return _SECRET.sub("…", _QUOTED.sub("…", text))


def wake_failed(workload: Object, is_group: bool, failure: WakeFailure, serial: int) -> dict[str, Any]:
    """Return the Event that says why a wake failed, and when another is tried."""
    message = (
        f"{failure.reason}: {failure.message} (failure {failure.failures} in a row; no new wake before "
        f"{written(failure.until)})"
    )
    return _event(workload, is_group, "WakeFailed", message, written(failure.since), serial)


def engine_ended(workload: Object, is_group: bool, end: EngineEnd, serial: int) -> dict[str, Any]:
    """Return the Event that says how an engine ended that was not asked to stop."""
    return _event(workload, is_group, "EngineEnded", end.sentence(), end.at, serial)


def _event(workload: Object, is_group: bool, reason: str, message: str, moment: str, serial: int) -> dict[str, Any]:
    """Return a ``v1 Event`` on the model's Deployment or LeaderWorkerSet; an object in a list does not state its kind.
    ``serial`` makes the Event's name unique.
    """
    metadata = workload["metadata"]
    api, kind = ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet") if is_group else ("apps/v1", "Deployment")
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{serial:x}", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": api,
            "kind": kind,
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata.get("uid", ""),
        },
        "type": "Warning",
        "reason": reason,
        "message": message[:_LETTERS_OF_AN_EVENT],
        "count": 1,
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "reportingInstance": COMPONENT,
    }
