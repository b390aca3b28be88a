"""Rules for a model's keep-warm windows: each must begin, end and be possible, on a clock that KEDA can follow."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

from components.idle_scaling.clocks import DAY
from components.idle_scaling.schedule import is_always, is_misread
from components.typed.refusal import Path, Problem
from components.typed.rules.file import (
    AHEAD_TOO_LONG,
    TIME_OF_DAY_INVALID,
    TIMEZONE_MISREAD,
    WINDOW_ABOVE_MAX,
    WINDOW_LENGTH,
    WINDOW_UNUSED,
)
from infra.stackfile.keep_warm import always_kept, week
from infra.stackfile.partial import Draft, Part
from infra.stackfile.rules.min_and_reason import without_reason
from infra.stackfile.schema.model import ModelConfig, ScheduleConfig

LONGEST_AHEAD_SECONDS = 24 * 3600


def judge_schedules(part: Part[ModelConfig], at: Path, draft: Draft) -> Iterator[Problem]:
    """Yield all problems of a model's windows. A window outside production needs no reason: it is bounded, and the plan
    counts its cost. Windows that together are most of a week are a ``min``, and need its reason."""
    if not part.sound("schedules"):
        return
    model = part.value
    for name, schedule in model.schedules.items():
        path = (*at, "schedules", name)
        yield from _times(schedule, path)
        if part.sound("max") and schedule.replicas > model.max:
            allowed, fix = f"1..{model.max}", f"lower replicas to {model.max} or raise max to {schedule.replicas}"
            message = f"is more than max, which is {model.max}"
            yield WINDOW_ABOVE_MAX.at((*path, "replicas"), message, allowed=allowed, fix=fix, value=schedule.replicas)
        if part.sound("min") and schedule.replicas <= model.min:
            message = f"has no effect: min is {model.min}, so as many run at all times"
            fix = "take the window out, lower min, or raise replicas"
            allowed = f"{model.min + 1} or more"
            yield WINDOW_UNUSED.at((*path, "replicas"), message, allowed=allowed, fix=fix, value=schedule.replicas)
    needed = ("name", "min", "max", "min_reason", "idle_ttl")
    if part.sound(*needed) and model.schedules and all(map(_is_sound, model.schedules.values())):
        warm = always_kept([model])[model.name]
        if warm > model.min:
            yield from without_reason(at, warm, model.min_reason, draft, "schedules")


def kept_at_once(models: Mapping[str, Part[ModelConfig]], amount: Callable[[ModelConfig], int]) -> int:
    """Return the most that windows and mins hold at one moment, for models whose windows could be read. ``amount``: of
    one replica.
    """
    needed = ("name", "gpus", "nodes", "min", "idle_ttl", "schedules")
    read = [part.value for part in models.values() if part.sound(*needed)]
    sound = [model for model in read if all(_is_sound(schedule) for schedule in model.schedules.values())]
    return max(sum(amount(m) * replicas[m.name] for m in sound) for _, replicas in week(sound, tail=False))


def _is_sound(schedule: ScheduleConfig) -> bool:
    return next(_times(schedule, ()), None) is None


def _times(schedule: ScheduleConfig, path: Path) -> Iterator[Problem]:
    wrong = False
    if schedule.start.minutes == DAY:
        wrong = True
        message, fix = "is the end of a day, where nothing begins", 'write "00:00" and the next day'
        yield TIME_OF_DAY_INVALID.at(
            (*path, "from"), message, allowed='"00:00" to "23:59"', fix=fix, value=str(schedule.start)
        )
    if schedule.start == schedule.to:
        wrong = True
        message, allowed = "is the same as from, so the window has no length", "another time than from"
        fix = 'for a whole day write from: "00:00" and to: "24:00"'
        yield WINDOW_LENGTH.at((*path, "to"), message, allowed=allowed, fix=fix, value=str(schedule.to))
    if schedule.ahead is not None and schedule.ahead.seconds > LONGEST_AHEAD_SECONDS:
        wrong = True
        message, fix = "is longer than a day", "lower it, or let the window begin earlier"
        yield AHEAD_TOO_LONG.at((*path, "ahead"), message, allowed="1s to 24h", fix=fix, value=str(schedule.ahead))
    if wrong:
        return
    window = schedule.window
    if is_always(window):
        message, fix = (
            "never ends: with ahead it covers the whole week",
            f"set min: {schedule.replicas} and take it out",
        )
        yield WINDOW_LENGTH.at(path, message, allowed="a window with an end", fix=fix)
    elif is_misread(window):
        message = (
            "moves its clocks at midnight or by half an hour, which KEDA misreads for a day or a week of each year"
        )
        allowed = "a zone that moves them by an hour at another time; at midnight also days: daily, away from it"
        fix = "write days: daily, or a zone without changes, like Etc/GMT+1 for one hour behind UTC"
        yield TIMEZONE_MISREAD.at((*path, "timezone"), message, allowed=allowed, fix=fix, value=schedule.timezone)
