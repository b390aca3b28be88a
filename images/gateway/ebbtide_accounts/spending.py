"""Entry point ``python -m ebbtide_accounts.spending``: what groups and keys have cost on each day, for their limits. A
process of its own, as ``cost`` is; each gateway starts it every few minutes, and one of them has something to do.

It reads ``{"warm", "every_seconds"}`` as JSON. Today and yesterday are charged anew: older days no longer change.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from fractions import Fraction
from typing import Any

import asyncpg

from .cost import charged
from .ledger.records import Charge
from .program import run
from .usage import group_label, key_label

# any number that nobody else takes for a lock of the same database
_LOCK = 4_027_118_606
_FIRST = date(1970, 1, 1)
_WRITE = (
    "INSERT INTO ebbtide.dollar_days SELECT * FROM unnest($1::text[], $2::date[], $3::float8[]) "
    "ON CONFLICT (holder, day) DO UPDATE SET dollars = excluded.dollars"
)
_CHARGED = "INSERT INTO ebbtide.charged (until) VALUES ($1) ON CONFLICT (one) DO UPDATE SET until = excluded.until"


def by_holder(entries: Iterable[Charge]) -> dict[tuple[str, date], float]:
    """Return the dollars of each group and each key by day; the stack's own are nobody's."""
    totals: defaultdict[tuple[str, date], Fraction] = defaultdict(Fraction)
    for entry in entries:
        day = _FIRST + timedelta(days=entry.day)
        if entry.group is not None:
            totals[group_label(entry.group), day] += entry.dollars
        if entry.key is not None:
            totals[key_label(entry.key), day] += entry.dollars
    return {holder: float(dollars) for holder, dollars in totals.items()}


async def charge(connection: asyncpg.Connection, asked: Mapping[str, Any]) -> None:
    """Write the dollars of today and yesterday, unless another gateway does or did lately."""
    now = datetime.now(UTC)
    async with connection.transaction():
        if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
            return
        until = await connection.fetchval("SELECT until FROM ebbtide.charged")
        if until is not None and now - until < timedelta(seconds=asked["every_seconds"]) / 2:
            return
        since = now.replace(hour=0, minute=0, second=0, microsecond=0) - timedelta(days=1)
        entries, _ = await charged(connection, since, now, asked["warm"])
        sums = by_holder(entries)
        holders, days = [holder for holder, _ in sums], [day for _, day in sums]
        await connection.execute(_WRITE, holders, days, list(sums.values()))
        await connection.execute(_CHARGED, now)


if __name__ == "__main__":
    raise SystemExit(run(charge, "what was used could not be charged"))
