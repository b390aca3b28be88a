"""Failed wake, as the wake keeper writes it on a model's ScaledObject and the gateway reads it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

ANNOTATION = "ebbtide.dev/wake-failure"


@dataclass(frozen=True)
class WakeFailure:
    """Reason of the last failed wake. From ``since`` to ``until`` no other is tried; ``failures`` in a row so far."""

    reason: str
    message: str
    since: datetime
    until: datetime
    failures: int

    def text(self) -> str:
        """Return the value of the annotation."""
        times = {"since": written(self.since), "until": written(self.until)}
        return json.dumps({"reason": self.reason, "message": self.message, **times, "failures": self.failures})


def written(moment: datetime) -> str:
    """Format a time in RFC 3339 in UTC, whole seconds, as Kubernetes writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def last_failure(annotations: Mapping[str, str]) -> WakeFailure | None:
    """Return the failure in an annotation, in force or not; None if there is none or it cannot be read."""
    try:
        record = json.loads(annotations[ANNOTATION])
        since, until = (datetime.fromisoformat(record[name]) for name in ("since", "until"))
        if since.tzinfo is None or until.tzinfo is None:
            return None
        return WakeFailure(str(record["reason"]), str(record["message"]), since, until, int(record["failures"]))
    except (KeyError, ValueError, TypeError):
        return None


def failure_in_force(annotations: Mapping[str, str], now: datetime) -> WakeFailure | None:
    """Return the failure for which a request is refused at this moment."""
    failure = last_failure(annotations)
    return failure if failure is not None and now < failure.until else None
