"""Entry point ``python -m ebbtide_accounts.cost``: what a period cost, by whom. A process of its own: a month of many
requests takes seconds of a processor, which a gateway does not have.

It reads ``{"since", "until", "by", "warm"}`` as JSON, times as microseconds since 1970, and writes a list of sums, or
ends with 1 where the database cannot be asked.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any, cast, get_args

from .connection import PROBLEMS, Location, connect, describe
from .ledger.charges import charges
from .ledger.records import Charge, Kind
from .lives import history
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


async def cost(location: Location, asked: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the sums of a period. Raises one of ``PROBLEMS``."""
    since, until = (_FIRST + timedelta(microseconds=asked[name]) for name in ("since", "until"))
    connection = await connect(location)
    try:
        known = await history(connection, since, until)
    finally:
        await connection.close()
    warm = [window for hours in asked["warm"] for window in windows(Hours(**hours), since, until)]
    entries = charges(known.nodes, known.pods, known.requests, warm, asked["since"], asked["until"])
    return sums(entries, asked["by"], known.names)


def main() -> int:
    """Write the sums. Returns 1 where the database cannot be asked."""
    try:
        print(json.dumps(asyncio.run(cost(Location.from_environment(), json.load(sys.stdin)))))
    except PROBLEMS as problem:
        print(f"what was used could not be charged: {describe(problem)}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
