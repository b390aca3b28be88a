"""Files that clients send and fetch, as the database keeps them: in pieces, so that nobody holds one whole."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncpg

MOST_BYTES = 200 * 1024 * 1024
"""OpenAI's own limit for the input of a batch."""
KEPT_DAYS = 30
PIECE_BYTES = 1024 * 1024
_COLUMNS = "id, group_name, name, purpose, bytes, made_at, expires_at"


@dataclass(frozen=True)
class File:
    """One file of a group. ``purpose``: ``batch`` was sent by a client, ``batch_output`` was written by a job."""

    id: str
    group: str
    name: str
    purpose: str
    bytes: int
    made_at: datetime
    expires_at: datetime


async def create(pool: asyncpg.Pool, group: str, name: str, purpose: str, pieces: AsyncIterator[bytes]) -> File:
    """Write a file, all of it or nothing."""
    async with pool.acquire() as connection, connection.transaction():
        writer = await Writer.begin(connection, group, name, purpose)
        async for piece in pieces:
            await writer.write(piece)
        return await writer.end()


class Writer:
    """A file while it is written, within a transaction of whoever writes it."""

    def __init__(self, connection: asyncpg.Connection, file_id: str) -> None:
        self.id = file_id
        self._connection = connection
        self._waiting = bytearray()
        self._pieces = self._bytes = 0

    @classmethod
    async def begin(cls, connection: asyncpg.Connection, group: str, name: str, purpose: str) -> Writer:
        """Begin a file of a group."""
        writer = cls(connection, f"file-{secrets.token_hex(16)}")
        await connection.execute(
            "INSERT INTO ebbtide.files (id, group_name, name, purpose, bytes, expires_at) "
            "VALUES ($1, $2, $3, $4, 0, now() + make_interval(days => $5))",
            writer.id,
            group,
            name,
            purpose,
            KEPT_DAYS,
        )
        return writer

    async def write(self, text: bytes) -> None:
        """Write some more of it."""
        self._waiting += text
        self._bytes += len(text)
        while len(self._waiting) >= PIECE_BYTES:
            await self._put(bytes(self._waiting[:PIECE_BYTES]))
            del self._waiting[:PIECE_BYTES]

    async def end(self) -> File:
        """Write what is left."""
        if self._waiting:
            await self._put(bytes(self._waiting))
        row = await self._connection.fetchrow(
            f"UPDATE ebbtide.files SET bytes = $2 WHERE id = $1 RETURNING {_COLUMNS}",  # noqa: S608
            self.id,
            self._bytes,
        )
        return _file(row)

    async def _put(self, piece: bytes) -> None:
        statement = "INSERT INTO ebbtide.file_pieces (file_id, number, data) VALUES ($1, $2, $3)"
        await self._connection.execute(statement, self.id, self._pieces, piece)
        self._pieces += 1


async def find(pool: asyncpg.Pool, file_id: str, group: str) -> File | None:
    """Return a file of a group; None if the group has none with this id."""
    row = await pool.fetchrow(
        f"SELECT {_COLUMNS} FROM ebbtide.files WHERE id = $1 AND group_name = $2",  # noqa: S608
        file_id,
        group,
    )
    return None if row is None else _file(row)


async def every(
    pool: asyncpg.Pool, group: str, purpose: str | None, after: str | None, most: int, *, newest_first: bool = True
) -> list[File]:
    """Return a group's files; ``after``: those behind that one."""
    order, behind = ("DESC", "<") if newest_first else ("ASC", ">")
    rows = await pool.fetch(
        f"SELECT {_COLUMNS} FROM ebbtide.files WHERE group_name = $1 "  # noqa: S608
        "AND ($2::text IS NULL OR purpose = $2) AND ($3::text IS NULL OR (made_at, id) "
        f"{behind} (SELECT made_at, id FROM ebbtide.files WHERE id = $3 AND group_name = $1)) "
        f"ORDER BY made_at {order}, id {order} LIMIT $4",
        group,
        purpose,
        after,
        most,
    )
    return [_file(row) for row in rows]


async def delete(pool: asyncpg.Pool, file_id: str, group: str) -> bool:
    """Delete a file of a group. Returns False if there is none."""
    status: str = await pool.execute("DELETE FROM ebbtide.files WHERE id = $1 AND group_name = $2", file_id, group)
    return status.endswith(" 1")


async def content(pool: asyncpg.Pool | asyncpg.Connection, file_id: str) -> AsyncIterator[bytes]:
    """Yield a file's pieces in order."""
    number = 0
    statement = "SELECT data FROM ebbtide.file_pieces WHERE file_id = $1 AND number = $2"
    while (piece := await pool.fetchval(statement, file_id, number)) is not None:
        yield piece
        number += 1


def _file(row: Any) -> File:
    return File(*row)
