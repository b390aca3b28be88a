"""Jobs: batches as their clients see them."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .files import KEPT_DAYS

if TYPE_CHECKING:
    import asyncpg

_OWN = (
    *("id", "group_name", "key_id", "key_name", "endpoint", "input_file", "completion_window", "metadata"),
    *("off_peak", "status", "errors", "made_at", "deadline", "begun_at", "cancelling_at", "ended_at"),
    *("total", "completed", "failed", "output_file", "error_file"),
)
_COLUMNS = ", ".join(_OWN)


@dataclass(frozen=True)
class Job:
    """One batch. ``status`` is OpenAI's word; ``errors``: what was wrong with its input; ``off_peak``: when its models
    may be woken for it; ``completed`` and ``failed``: lines, counted while it goes on.
    """

    id: str
    group: str
    key_id: str
    key_name: str
    endpoint: str
    input_file: str
    completion_window: str
    metadata: Mapping[str, str] | None
    off_peak: Mapping[str, str] | None
    status: str
    errors: list[dict[str, Any]] | None
    made_at: datetime
    deadline: datetime
    begun_at: datetime | None
    cancelling_at: datetime | None
    ended_at: datetime | None
    total: int
    completed: int
    failed: int
    output_file: str | None
    error_file: str | None


async def create(
    pool: asyncpg.Pool,
    *,
    group: str,
    key_id: str,
    key_name: str,
    endpoint: str,
    input_file: str,
    completion_window: str,
    deadline: datetime,
    metadata: Mapping[str, str] | None,
    off_peak: Mapping[str, str] | None,
) -> Job:
    """Write a batch whose input is to be read yet."""
    row = await pool.fetchrow(
        "INSERT INTO ebbtide.batches (id, group_name, key_id, key_name, endpoint, input_file, completion_window, "  # noqa: S608
        "deadline, metadata, off_peak, status) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, 'validating') "
        f"RETURNING {_COLUMNS}",
        f"batch_{secrets.token_hex(16)}",
        group,
        key_id,
        key_name,
        endpoint,
        input_file,
        completion_window,
        deadline,
        _text(metadata),
        _text(off_peak),
    )
    return _job(row)


async def find(pool: asyncpg.Pool, job_id: str, group: str) -> Job | None:
    """Return a batch of a group, with its lines counted; None if the group has none with this id."""
    row = await pool.fetchrow(
        f"SELECT {_COLUMNS} FROM ebbtide.batches WHERE id = $1 AND group_name = $2",  # noqa: S608
        job_id,
        group,
    )
    if row is None:
        return None
    job = dict(row)
    if job["ended_at"] is None:
        done = await pool.fetchrow(
            "SELECT count(*) FILTER (WHERE status < 400) AS completed, "
            "count(*) FILTER (WHERE status >= 400) AS failed FROM ebbtide.batch_lines "
            "WHERE batch_id = $1 AND ended_at IS NOT NULL",
            job_id,
        )
        job |= dict(done)
    return _job(job)


async def every(pool: asyncpg.Pool, group: str, after: str | None, most: int) -> list[Job]:
    """Return a group's batches, the newest first; ``after``: those behind that one."""
    rows = await pool.fetch(
        f"SELECT {_COLUMNS} FROM ebbtide.batches WHERE group_name = $1 AND ($2::text IS NULL "  # noqa: S608
        "OR (made_at, id) < (SELECT made_at, id FROM ebbtide.batches WHERE id = $2 AND group_name = $1)) "
        "ORDER BY made_at DESC, id DESC LIMIT $3",
        group,
        after,
        most,
    )
    return [_job(row) for row in rows]


async def cancel(pool: asyncpg.Pool, job_id: str, group: str) -> None:
    """Have no more of a batch's lines begun; what has ended stays as it is."""
    await pool.execute(
        "UPDATE ebbtide.batches SET status = 'cancelling', cancelling_at = now() "
        "WHERE id = $1 AND group_name = $2 AND status IN ('validating', 'in_progress')",
        job_id,
        group,
    )


async def unread(pool: asyncpg.Pool) -> list[tuple[str, str]]:
    """Return the batches whose input is to be read, each with its group, the oldest first, but those that somebody
    reads just now.
    """
    rows = await pool.fetch(
        "SELECT id, group_name FROM ebbtide.batches WHERE status = 'validating' "
        "ORDER BY made_at LIMIT 4 FOR UPDATE SKIP LOCKED"
    )
    return [(row["id"], row["group_name"]) for row in rows]


async def forget(pool: asyncpg.Pool) -> None:
    """Delete files whose time is over, and batches that ended so long ago."""
    await pool.execute("DELETE FROM ebbtide.files WHERE expires_at < now()")
    await pool.execute("DELETE FROM ebbtide.batches WHERE ended_at < now() - make_interval(days => $1)", KEPT_DAYS)


def _text(value: Mapping[str, str] | None) -> str | None:
    return None if value is None else json.dumps(value)


def _job(row: Any) -> Job:
    values = {name: row[name] for name in _OWN}
    for name in ("metadata", "off_peak", "errors"):
        values[name] = None if values[name] is None else json.loads(values[name])
    return Job(*values.values())
