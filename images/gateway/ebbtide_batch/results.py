"""Ends of batches: what their lines came to becomes files, in the order of the input and each line once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from .files import Writer

if TYPE_CHECKING:
    import asyncpg

_DELETE_SECONDS = 120.0
_UNFINISHED = {
    "expired": ("batch_expired", "the batch's deadline passed before this line was answered"),
    "cancelled": ("batch_cancelled", "the batch was cancelled before this line was answered"),
}
_STATE = """
    SELECT b.group_name, b.status, b.deadline,
        count(l.*) FILTER (WHERE l.ended_at IS NULL) AS open,
        count(l.*) FILTER (WHERE l.ended_at IS NULL AND l.taken_by IS NOT NULL AND l.free_at > now()) AS taken
    FROM ebbtide.batches b LEFT JOIN ebbtide.batch_lines l ON l.batch_id = b.id
    WHERE b.id = $1 GROUP BY b.id
"""
_LINES = """
    SELECT number, custom_id, status, answer, request_id, ended_at FROM ebbtide.batch_lines
    WHERE batch_id = $1 ORDER BY number
"""
# an end is looked for where there may be one: nothing is open, the time is over, or it was cancelled
_ENDED = """
    SELECT b.id FROM ebbtide.batches b WHERE b.status IN ('in_progress', 'cancelling') AND (
        b.deadline < now() OR b.status = 'cancelling' OR NOT EXISTS (
            SELECT FROM ebbtide.batch_lines l WHERE l.batch_id = b.id AND l.ended_at IS NULL
        )
    )
"""


@dataclass(frozen=True)
class State:
    """How far a batch is. ``taken``: lines that a worker has just now."""

    status: str
    deadline: datetime
    open: int
    taken: int


def outcome(state: State, now: datetime) -> str | None:
    """Return what a batch has come to; None: it goes on. One that is cancelled waits for what has begun."""
    if state.status == "cancelling":
        return "cancelled" if state.taken == 0 or state.deadline <= now else None
    if state.open == 0:
        return "completed"
    return "expired" if state.deadline <= now else None


async def ended(pool: asyncpg.Pool) -> list[str]:
    """Return batches that may have come to an end."""
    return [row["id"] for row in await pool.fetch(_ENDED)]


async def conclude(pool: asyncpg.Pool, batch: str) -> None:
    """End a batch if it has come to an end, and write its files. All or nothing, and by one gateway: another that tries
    at the same time does nothing.
    """
    async with pool.acquire() as connection, connection.transaction():
        locked = await connection.fetchval(
            "SELECT id FROM ebbtide.batches WHERE id = $1 AND ended_at IS NULL FOR UPDATE SKIP LOCKED", batch
        )
        if locked is None:
            return
        row = await connection.fetchrow(_STATE, batch)
        status = outcome(State(row["status"], row["deadline"], row["open"], row["taken"]), datetime.now(UTC))
        if status is None:
            return
        files = _Files(connection, batch, row["group_name"])
        async for line in connection.cursor(_LINES, batch, prefetch=200):
            await files.add(line, status)
        await connection.execute(
            "UPDATE ebbtide.batches SET status = $2, ended_at = now(), completed = $3, failed = $4, output_file = $5, "
            "error_file = $6 WHERE id = $1",
            batch,
            status,
            files.completed,
            files.failed,
            *await files.end(),
        )
        delete = "DELETE FROM ebbtide.batch_lines WHERE batch_id = $1"
        await connection.execute(delete, batch, timeout=_DELETE_SECONDS)


class _Files:
    """The two files of a batch; each is there once it has a line."""

    def __init__(self, connection: asyncpg.Connection, batch: str, group: str) -> None:
        self._connection, self._batch, self._group = connection, batch, group
        self._writers: dict[str, Writer] = {}
        self.completed = self.failed = 0

    async def add(self, line: Any, status: str) -> None:
        good = line["status"] is not None and line["status"] < 400
        self.completed, self.failed = self.completed + good, self.failed + (not good)
        kind = "output" if good else "error"
        if kind not in self._writers:
            name = f"{self._batch}_{kind}.jsonl"
            self._writers[kind] = await Writer.begin(self._connection, self._group, name, "batch_output")
        await self._writers[kind].write(written(self._batch, line, status))

    async def end(self) -> tuple[str | None, str | None]:
        ids = {kind: (await writer.end()).id for kind, writer in self._writers.items()}
        return ids.get("output"), ids.get("error")


def written(batch: str, line: Any, status: str) -> bytes:
    """Return a line of a result, as OpenAI's clients read it. What an engine answered is JSON already."""
    request, custom_id = f"batch_req_{batch.removeprefix('batch_')}_{line['number']}", json.dumps(line["custom_id"])
    if line["ended_at"] is None:
        code, message = _UNFINISHED[status]
        response, error = b"null", json.dumps({"code": code, "message": message}).encode()
    else:
        about = f'{{"status_code":{line["status"]},"request_id":{json.dumps(line["request_id"])},"body":'
        response, error = about.encode() + _one_line(line["answer"]) + b"}", b"null"
    head = f'{{"id":"{request}","custom_id":{custom_id},"response":'.encode()
    return head + response + b',"error":' + error + b"}\n"


def _one_line(answer: bytes) -> bytes:
    return json.dumps(json.loads(answer)).encode() if b"\n" in answer else answer
