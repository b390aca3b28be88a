"""Deletion of what is older than the stack keeps: usage, its sums by day, and the lives of nodes and pods."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import asyncpg

_AT_ONCE = 5000
_MOMENTS = {
    "usage": ("id", "at"),
    "node_lives": ("uid", "coalesce(ended_at, seen_at)"),
    "pod_lives": ("uid", "coalesce(ended_at, seen_at)"),
}
# a few rows at a time, and none that another gateway deletes just then: neither waits for the other
_DELETE = {
    table: f"DELETE FROM ebbtide.{table} WHERE {key} IN (SELECT {key} FROM ebbtide.{table} "  # noqa: S608
    f"WHERE {moment} < now() - make_interval(days => $1) LIMIT {_AT_ONCE} FOR UPDATE SKIP LOCKED)"
    for table, (key, moment) in _MOMENTS.items()
}
_DELETE_DAYS = [
    f"DELETE FROM ebbtide.{table} WHERE day < (now() AT TIME ZONE 'UTC')::date - $1::int"  # noqa: S608
    for table in ("token_days", "dollar_days")
]


async def forget(pool: asyncpg.Pool, days: int) -> None:
    """Delete all that is older than so many days."""
    for statement in _DELETE.values():
        # the status is like "DELETE 12"
        while int((await pool.execute(statement, days)).split()[-1]) == _AT_ONCE:
            pass
    for statement in _DELETE_DAYS:
        await pool.execute(statement, days)
