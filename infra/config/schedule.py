"""Hours in which a model stays warm, as the stack file declares them."""

from __future__ import annotations

import difflib
from typing import Annotated, Any, Final

from pydantic import BeforeValidator, Field

from components.idle_scaling.clocks import timezones
from components.idle_scaling.schedule import Window
from components.typed.fields import Limit, Shape
from components.typed.refusal import refuse
from components.typed.units import Duration, TimeOfDay

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_GROUPS: Final = {"daily": DAYS, "weekdays": DAYS[:5], "weekends": DAYS[5:]}
_DAYS_ALLOWED = f"daily, weekdays, weekends, or a list of {', '.join(DAYS)}, each once"


def _near(value: Any, known: tuple[str, ...]) -> str | None:
    """The known word that was meant, whatever its case."""
    folded = {word.lower(): word for word in known}
    return next((folded[near] for near in difflib.get_close_matches(str(value)[:100].lower(), folded, n=1)), None)


def _check_day(value: Any) -> str:
    if value not in DAYS:
        # a day's full name is too long to be near its short one
        short = value[:3].lower() if isinstance(value, str) else None
        near = short if short in DAYS else _near(value, DAYS)
        raise refuse(123, "is not a day", allowed=", ".join(DAYS), fix=f"did you mean {near}?" if near else "use one")
    return str(value)


def _check_days(value: Any) -> Any:
    if isinstance(value, str):
        if value in _GROUPS:
            return _GROUPS[value]
        near = _near(value, tuple(_GROUPS))
        fix = f"did you mean {near}?" if near else "write a list, like [mon, tue]"
        raise refuse(123, "is not a group of days", allowed=_DAYS_ALLOWED, fix=fix)
    if isinstance(value, list) and (not value or any(value.count(day) > 1 for day in value)):
        says, fix = ("has a day twice", "write each day once") if value else ("has no day", "name one, or write daily")
        raise refuse(123, says, allowed=_DAYS_ALLOWED, fix=fix)
    return value


def _check_timezone(value: Any) -> str:
    if not isinstance(value, str) or value not in timezones():
        near = _near(value, tuple(sorted(timezones()))) if isinstance(value, str) else None
        allowed = "a name of the time zone database, like Europe/Berlin or UTC"
        raise refuse(124, "is not a time zone", allowed=allowed, fix=f"did you mean {near}?" if near else "use a name")
    return value


Day = Annotated[str, BeforeValidator(_check_day)]
Days = Annotated[tuple[Day, ...], BeforeValidator(_check_days)]
Timezone = Annotated[str, BeforeValidator(_check_timezone)]


class ScheduleConfig(Shape):
    """A keep-warm window: on ``days``, from ``start`` to ``to``, at least ``replicas`` run whether anybody asks or not,
    started ``ahead`` before. A ``to`` that is not later than ``start`` is on the next day. After it the model is idle
    like any other, and gone an ``idleTtl`` later. Clocks that change are followed: on the weekday of a change a window
    may begin or end an hour wider (up to three in a few zones), never narrower.
    """

    days: Days = Field(
        default_factory=lambda: DAYS,
        description="`daily`, `weekdays`, `weekends`, or a list of `mon` to `sun`; default: daily",
    )
    start: TimeOfDay = Field(alias="from", description="when it begins, in quotes", examples=['"08:30"'])
    to: TimeOfDay = Field(description='when it ends; "24:00" is the end of the day', examples=['"18:00"'])
    timezone: Timezone = Field(description="whose clock this is", examples=["Europe/Berlin"])
    replicas: Limit = Field(default=1, description="replicas that run at least; at most max")
    ahead: Duration | None = Field(
        default=None, description="how long before from they are started; at most 24h; default: at from"
    )

    @property
    def window(self) -> Window:
        """In the component's terms. Raises ``ValueError`` for what ``judge_schedule.py`` refuses."""
        return Window(
            frozenset(DAYS.index(day) for day in self.days),
            self.start.minutes,
            self.to.minutes,
            self.timezone,
            self.replicas,
            -(-self.ahead.seconds // 60) if self.ahead else 0,
        )
