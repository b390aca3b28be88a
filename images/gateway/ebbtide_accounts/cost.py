"""Entry point ``python -m ebbtide_accounts.cost``: what a period cost, by whom. A process of its own: a month of many
requests takes seconds of a processor, which a gateway does not have.

It reads ``{"since", "until", "by", "warm"}`` as JSON, times as microseconds since 1970, and writes a list of sums, or
ends with 1 where the database cannot be asked.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any, cast, get_args

import asyncpg

from .ledger.charges import charges
from .ledger.records import Charge, Kind
from .lives import history, microseconds
from .program import run
from .warm_hours import Hours, windows

BY = ("group", "key", "model", "day")
KINDS: tuple[Kind, ...] = get_args(Kind)
_FIRST = datetime(1970, 1, 1, tzinfo=UTC)
_HOUR = 3600


def sums(entries: Iterable[Charge], by: Sequence[str], names: Mapping[str, str]) -> list[dict[str, Any]]:
    """Return the sums for each combination of ``by``, in its order: dollars in all and by kind, rounded to a
    millionth, and GPU hours, those of nodes without a price apart. None stands for the stack itself. ``names``: of keys
    by their ids.
    """
    totals: defaultdict[tuple[str | None, ...], dict[str, Fraction]] = defaultdict(lambda: defaultdict(Fraction))
    for entry in entries:
        total = totals[tuple(_value(entry, name, names) for name in by)]
        total["dollars"] += entry.dollars
        total[entry.kind] += entry.dollars
        total["gpu_hours"] += entry.gpu_seconds / _HOUR
        total["unpriced_gpu_hours"] += entry.unpriced_gpu_seconds / _HOUR
    columns = ("dollars", *KINDS, "gpu_hours", "unpriced_gpu_hours")
    ordered = sorted(totals.items(), key=lambda item: [value or "" for value in item[0]])
    return [
        dict(zip(by, names, strict=True)) | {column: round(float(total[column]), 6) for column in columns}
        for names, total in ordered
    ]


def _value(entry: Charge, name: str, names: Mapping[str, str]) -> str | None:
    if name == "day":
        return (date(1970, 1, 1) + timedelta(days=entry.day)).isoformat()
    if name == "key":
        return None if entry.key is None else names.get(entry.key, entry.key)
    return cast("str | None", getattr(entry, name))


async def charged(
    connection: asyncpg.Connection, since: datetime, until: datetime, warm: Iterable[Mapping[str, Any]]
) -> tuple[list[Charge], dict[str, str]]:
    """Return what a period is charged, and the names of keys by their ids. ``warm``: the hours in which the stack file
    keeps models. Raises one of ``PROBLEMS``.
    """
    known = await history(connection, since, until)
    kept = [window for hours in warm for window in windows(Hours(**hours), since, until)]
    period = microseconds(since), microseconds(until)
    return charges(known.nodes, known.pods, known.requests, kept, *period), known.names


async def cost(connection: asyncpg.Connection, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the sums of a period. Raises one of ``PROBLEMS``."""
    since, until = (_FIRST + timedelta(microseconds=asked[name]) for name in ("since", "until"))
    entries, names = await charged(connection, since, until, asked["warm"])
    return sums(entries, asked["by"], names)


if __name__ == "__main__":
    raise SystemExit(run(cost, "what was used could not be charged"))
