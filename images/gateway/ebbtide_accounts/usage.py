"""Usage as the database keeps it: one row a request, written in batches, and its sums. Nothing of a prompt or an
answer is in it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

if TYPE_CHECKING:
    import asyncpg

_TYPES = {
    "id": "uuid",
    "request_id": "text",
    "at": "timestamptz",
    "group_name": "text",
    "key_id": "text",
    "key_name": "text",
    "model": "text",
    "tokens_in": "bigint",
    "tokens_out": "bigint",
    "tokens_cached": "bigint",
    "wait_seconds": "float8",
    "first_token_seconds": "float8",
    "status": "int",
    "complete": "boolean",
    "woke": "boolean",
    "ended_at": "timestamptz",
    "served_by": "text",
}
_LATE = tuple(name for name in _TYPES if name not in ("id", "request_id", "at"))
# A row of a request that goes on is written again when it has ended. All else that comes twice is the same row, whose
# first writing was confirmed too late: it changes nothing.
_TOKENS = "coalesce(tokens_in, 0) + coalesce(tokens_out, 0)"
_WRITE = (
    f"WITH written AS (INSERT INTO ebbtide.usage ({', '.join(_TYPES)}) "  # noqa: S608
    f"SELECT * FROM unnest({', '.join(f'${n}::{kind}[]' for n, kind in enumerate(_TYPES.values(), 1))}) "
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _LATE)} "
    "WHERE usage.status IS NULL AND excluded.status IS NOT NULL "
    "RETURNING group_name, key_id, at, tokens_in, tokens_out, status) "
    # in one order, so that two gateways wait for each other and do not deadlock
    "INSERT INTO ebbtide.token_days AS known "
    f"SELECT holder, (at AT TIME ZONE 'UTC')::date AS day, sum({_TOKENS}) "
    "FROM written, LATERAL (VALUES ('group:' || group_name), ('key:' || key_id)) AS of (holder) "
    f"WHERE status IS NOT NULL AND {_TOKENS} > 0 GROUP BY holder, day ORDER BY holder, day "
    "ON CONFLICT (holder, day) DO UPDATE SET tokens = known.tokens + excluded.tokens"
)
SUMS_BY = {
    "group": "group_name",
    "key": "key_name",
    "model": "model",
    "day": "to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD')",
}


@dataclass(frozen=True)
class Row:
    """Usage of one request. ``status`` None: it goes on, or its gateway was killed in its middle. Tokens are None where
    the engine did not say them. ``served_by``: the model whose engines it was for, which has another name than an
    adapter has. ``ended_at`` is ``at`` and the time it took, whatever was done to the clock meanwhile.
    """

    id: UUID
    request_id: str
    at: datetime
    group_name: str
    key_id: str
    key_name: str
    model: str
    tokens_in: int | None = None
    tokens_out: int | None = None
    tokens_cached: int | None = None
    wait_seconds: float = 0.0
    first_token_seconds: float | None = None
    status: int | None = None
    complete: bool = False
    woke: bool = False
    ended_at: datetime | None = None
    served_by: str | None = None

    @property
    def tokens(self) -> int:
        """Return the tokens in and out, as far as they are known."""
        return (self.tokens_in or 0) + (self.tokens_out or 0)


def group_label(name: str) -> str:
    """Return under which label a group's sums are."""
    return f"group:{name}"


def key_label(key_id: str) -> str:
    """Return under which label a key's sums are: its id's, since a name may be another key's later."""
    return f"key:{key_id}"


def labels_of(row: Row) -> tuple[str, str]:
    """Return under which labels a row's tokens are summed up."""
    return group_label(row.group_name), key_label(row.key_id)


def day_of(row: Row) -> date:
    """Return the day to which a row belongs, UTC."""
    return row.at.astimezone(UTC).date()


async def write(pool: asyncpg.Pool, rows: Collection[Row]) -> None:
    """Write rows, and add their tokens to the sums of their days, all or none; each id may come again in a later call,
    and counts once.
    """
    columns = ([getattr(row, name) for row in rows] for name in _TYPES)
    await pool.execute(_WRITE, *columns)


async def tokens_by_day(pool: asyncpg.Pool, labels: Collection[str], since: date) -> dict[str, dict[date, int]]:
    """Return the tokens of each label by day, from a day on; a label without any has no day."""
    return await _by_day(pool, "token_days", labels, since)


async def dollars_by_day(pool: asyncpg.Pool, labels: Collection[str], since: date) -> dict[str, dict[date, float]]:
    """Return the dollars of each label by day, from a day on, as they were charged last (``spending.py``)."""
    return await _by_day(pool, "dollar_days", labels, since)


async def _by_day(
    pool: asyncpg.Pool, table: Literal["token_days", "dollar_days"], labels: Collection[str], since: date
) -> dict[str, dict[date, Any]]:
    found: dict[str, dict[date, Any]] = {label: {} for label in labels}
    rows = await pool.fetch(
        f"SELECT * FROM ebbtide.{table} WHERE holder = ANY($1::text[]) AND day >= $2",  # noqa: S608
        list(labels),
        since,
    )
    for holder, day, amount in rows:
        found[holder][day] = amount
    return found


async def sums(
    pool: asyncpg.Pool, by: Sequence[str], since: datetime | None, until: datetime | None
) -> list[dict[str, Any]]:
    """Return the sums of each combination of ``by``, which are keys of ``SUMS_BY``; ``since`` belongs to them,
    ``until`` does not.
    """
    named = "".join(f'{SUMS_BY[name]} AS "{name}", ' for name in by)
    order = ", ".join(str(number) for number in range(1, len(by) + 1))
    rows = await pool.fetch(
        f"SELECT {named}count(*) AS requests, "  # noqa: S608
        "count(*) FILTER (WHERE status < 400 AND complete) AS answered, "
        "coalesce(sum(tokens_in), 0)::bigint AS tokens_in, coalesce(sum(tokens_out), 0)::bigint AS tokens_out, "
        "coalesce(sum(tokens_cached), 0)::bigint AS tokens_cached, "
        "count(*) FILTER (WHERE status < 400 AND tokens_out IS NULL) AS uncounted, "
        "count(*) FILTER (WHERE woke) AS wakes "
        "FROM ebbtide.usage WHERE ($1::timestamptz IS NULL OR at >= $1) AND ($2::timestamptz IS NULL OR at < $2) "
        + (f"GROUP BY {order} ORDER BY {order}" if by else ""),
        since,
        until,
    )
    return [dict(row) for row in rows]
