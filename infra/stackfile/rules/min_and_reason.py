"""Rules for ``min``, for pools and models alike: not above ``max``, and not above 0 without a reason."""

from __future__ import annotations

from collections.abc import Iterator

from components.typed.refusal import Path, Problem
from components.typed.rules.stack import MIN_ABOVE_MAX, MIN_WITHOUT_REASON
from infra.stackfile.limits import limits
from infra.stackfile.partial import Draft

# A local stack costs nothing, and production may keep a model awake without a reason.
_MUST_SAY_WHY = ("dev", "staging")


def more_than_max(at: Path, least: int, most: int) -> Problem:
    """Return the problem of a ``min`` above ``max``."""
    fix = f"lower min to {most} or raise max to {least}"
    return MIN_ABOVE_MAX.at(
        (*at, "min"), f"is more than max, which is {most}", allowed=f"0..{most}", fix=fix, value=least
    )


def without_reason(at: Path, least: int, reason: str | None, draft: Draft, key: str = "min") -> Iterator[Problem]:
    """Yield a problem for a ``min`` above 0 without a reason in dev and staging: it is paid for at night too. ``key``
    is what keeps as many: ``min``, or ``schedules`` that are never out."""
    if least > 0 and reason is None and draft.environment in _MUST_SAY_WHY:
        message = f"keeps GPUs running around the clock in {draft.environment}, and nothing says why"
        fix = "set min: 0, or add minReason: who needs it and until when"
        allowed = "0, or a minReason beside it"
        if key == "min":
            yield MIN_WITHOUT_REASON.at((*at, key), message, allowed=allowed, fix=fix, value=least)
            return
        share = f"{limits().keep_warm.share:.0%} of a week"
        message = f"keep GPUs running for more than {share} in {draft.environment}, like a min, and nothing says why"
        fix = "shorten the windows, or add minReason: who needs it and until when"
        yield MIN_WITHOUT_REASON.at((*at, key), message, allowed=f"at most {share}, or a minReason", fix=fix)
