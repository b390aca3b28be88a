"""Usage as the database keeps it: one row a request, written in batches, and its sums. Nothing of a prompt or an
answer is in it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
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
_WRITE = (
    f"INSERT INTO ebbtide.usage ({', '.join(_TYPES)}) "  # noqa: S608
    f"SELECT * FROM unnest({', '.join(f'${n}::{kind}[]' for n, kind in enumerate(_TYPES.values(), 1))}) "
    f"ON CONFLICT (id) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in _LATE)} "
    "WHERE usage.status IS NULL AND excluded.status IS NOT NULL"
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


async def write(pool: asyncpg.Pool, rows: Collection[Row]) -> None:
    """Write rows, all or none; each id may come again in a later call, and counts once."""
    columns = ([getattr(row, name) for row in rows] for name in _TYPES)
    await pool.execute(_WRITE, *columns)


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
