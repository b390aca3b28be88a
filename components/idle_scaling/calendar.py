"""Days of the week and time zones as a stack file names them."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Final

from pydantic import BeforeValidator

from components.idle_scaling.clocks import timezones
from components.typed.rules.file import DAYS_INVALID, TIMEZONE_UNKNOWN

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_GROUPS: Final = {"daily": DAYS, "weekdays": DAYS[:5], "weekends": DAYS[5:]}
_DAYS_ALLOWED = f"daily, weekdays, weekends, or a list of {', '.join(DAYS)}, each once"


def _near(value: Any, known: tuple[str, ...]) -> str | None:
    """Return the known word nearest to ``value``, ignoring case; None if none is near."""
    folded = {word.lower(): word for word in known}
    return next((folded[near] for near in difflib.get_close_matches(str(value)[:100].lower(), folded, n=1)), None)


def _check_day(value: Any) -> str:
    if value not in DAYS:
        # a day's full name is too long to match its short form
        short = value[:3].lower() if isinstance(value, str) else None
        near = short if short in DAYS else _near(value, DAYS)
        raise DAYS_INVALID.refusal(
            "is not a day", allowed=", ".join(DAYS), fix=f"did you mean {near}?" if near else "use one"
        )
    return str(value)


def _check_days(value: Any) -> Any:
    if isinstance(value, str):
        if value in _GROUPS:
            return _GROUPS[value]
        near = _near(value, tuple(_GROUPS))
        fix = f"did you mean {near}?" if near else "write a list, like [mon, tue]"
        raise DAYS_INVALID.refusal("is not a group of days", allowed=_DAYS_ALLOWED, fix=fix)
    if isinstance(value, list) and (not value or any(value.count(day) > 1 for day in value)):
        says, fix = ("has a day twice", "write each day once") if value else ("has no day", "name one, or write daily")
        raise DAYS_INVALID.refusal(says, allowed=_DAYS_ALLOWED, fix=fix)
    return value


def _check_timezone(value: Any) -> str:
    if not isinstance(value, str) or value not in timezones():
        near = _near(value, tuple(sorted(timezones()))) if isinstance(value, str) else None
        allowed = "a name of the time zone database, like Europe/Berlin or UTC"
        raise TIMEZONE_UNKNOWN.refusal(
            "is not a time zone", allowed=allowed, fix=f"did you mean {near}?" if near else "use a name"
        )
    return value


Day = Annotated[str, BeforeValidator(_check_day)]
Days = Annotated[tuple[Day, ...], BeforeValidator(_check_days)]
Timezone = Annotated[str, BeforeValidator(_check_timezone)]
