"""Lines of batches: each is taken by one worker at a time, while that one says that it works, and ends once."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

if TYPE_CHECKING:
    import asyncpg

LEASE_SECONDS = 30.0
"""Time after which a line is free again whose worker has not said that it goes on."""


@dataclass(frozen=True)
class Line:
    """One request of a batch. ``attempts``: this one included."""

    batch: str
    number: int
    endpoint: str
    body: bytes
    attempts: int
    group: str
    key_id: str

    @property
    def place(self) -> tuple[str, int]:
        """Return what no other line has."""
        return self.batch, self.number


@dataclass(frozen=True)
class Waiting:
    """Lines of one batch for one model that have not ended. ``free``: those that nobody works on."""

    batch: str
    deadline: datetime
    off_peak: Mapping[str, str] | None
    model: str
    open: int
    free: int


_WAITING = """
    SELECT b.id, b.deadline, b.off_peak, l.model, count(*) AS open,
        count(*) FILTER (WHERE l.free_at IS NULL OR l.free_at < now()) AS free
    FROM ebbtide.batches b JOIN ebbtide.batch_lines l ON l.batch_id = b.id AND l.ended_at IS NULL
    WHERE b.status = 'in_progress' GROUP BY b.id, l.model ORDER BY b.deadline
"""
# in the order of an index, so that none but the next is looked at
_TAKE = """
    WITH next AS (
        SELECT batch_id, number FROM ebbtide.batch_lines
        WHERE batch_id = $2 AND model = $1 AND ended_at IS NULL AND (free_at IS NULL OR free_at < now())
        ORDER BY number LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    UPDATE ebbtide.batch_lines l
    SET free_at = now() + make_interval(secs => $3), taken_by = $4, attempts = l.attempts + 1
    FROM next, ebbtide.batches b
    WHERE l.batch_id = next.batch_id AND l.number = next.number AND b.id = next.batch_id AND b.status = 'in_progress'
    RETURNING l.batch_id, l.number, b.endpoint, l.body, l.attempts, b.group_name, b.key_id
"""
_GO_ON = """
    UPDATE ebbtide.batch_lines SET free_at = now() + make_interval(secs => $3)
    WHERE taken_by = $1 AND ended_at IS NULL AND (batch_id, number) IN (SELECT * FROM unnest($2::text[], $4::int[]))
"""
# whoever ends it first has ended it: a worker that was taken for dead changes nothing
_END = """
    UPDATE ebbtide.batch_lines
    SET ended_at = now(), taken_by = NULL, status = $3, answer = $4, request_id = $5
    WHERE batch_id = $1 AND number = $2 AND ended_at IS NULL
"""
_PUT_BACK = """
    UPDATE ebbtide.batch_lines
    SET taken_by = NULL, free_at = now() + make_interval(secs => $4), attempts = attempts - $5
    WHERE batch_id = $1 AND number = $2 AND taken_by = $3 AND ended_at IS NULL
"""


async def waiting(pool: asyncpg.Pool) -> list[Waiting]:
    """Return what is to be done, by batch and model, the earliest deadline first."""
    return [_waiting(row) for row in await pool.fetch(_WAITING)]


async def take(pool: asyncpg.Pool, model: str, batch: str, worker: UUID) -> Line | None:
    """Take a batch's next line for a model that nobody works on: it is this worker's for ``LEASE_SECONDS``."""
    row = await pool.fetchrow(_TAKE, model, batch, LEASE_SECONDS, worker)
    return None if row is None else Line(*row)


async def go_on(pool: asyncpg.Pool, places: Collection[tuple[str, int]], worker: UUID) -> None:
    """Say that a worker still works on its lines."""
    batches, numbers = [batch for batch, _ in places], [number for _, number in places]
    await pool.execute(_GO_ON, worker, batches, LEASE_SECONDS, numbers)


async def end(pool: asyncpg.Pool, place: tuple[str, int], status: int, answer: bytes, request_id: str) -> None:
    """Note a line's result, if it has none yet."""
    await pool.execute(_END, *place, status, answer, request_id)


async def put_back(
    pool: asyncpg.Pool, place: tuple[str, int], worker: UUID, after_seconds: float = 0.0, *, counted: bool = False
) -> None:
    """Give a line back that was not answered. ``counted``: it was tried, and not only kept waiting."""
    await pool.execute(_PUT_BACK, *place, worker, after_seconds, 0 if counted else 1)


async def say_busy(pool: asyncpg.Pool, models: Collection[str], seconds: float) -> set[str]:
    """Say to all gateways in whose models people have requests just now, and return in which they have some, here or
    elsewhere.
    """
    if models:
        await pool.execute(
            "INSERT INTO ebbtide.busy_models (model, until) "
            "SELECT model, now() + make_interval(secs => $2) FROM unnest($1::text[]) AS model ORDER BY model "
            "ON CONFLICT (model) DO UPDATE SET until = excluded.until",
            sorted(models),
            seconds,
        )
    return {row["model"] for row in await pool.fetch("SELECT model FROM ebbtide.busy_models WHERE until > now()")}


def _waiting(row: Any) -> Waiting:
    off_peak = None if row["off_peak"] is None else json.loads(row["off_peak"])
    return Waiting(row["id"], row["deadline"], off_peak, row["model"], row["open"], row["free"])
