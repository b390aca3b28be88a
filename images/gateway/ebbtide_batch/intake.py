"""Entry point ``python -m ebbtide_batch.intake``: reads a batch's input into lines, all findings at once. A process of
its own: 200 MB of JSON take seconds of a processor, which a gateway does not have.

It reads ``{"batch", "models", "others"}`` as JSON: the names that the batch's key may ask for, each with the model that
serves it, and names that exist besides. It holds the batch's row while it works, so that nobody else reads it too, and
whoever is killed leaves nothing.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any

import asyncpg
from ebbtide_accounts.program import run

from .files import content
from .input_lines import MOST_FINDINGS, MOST_LINE_BYTES, MOST_LINES, Finding, LineTooLong, Reader, lines_of

_AT_ONCE = 500
_COLUMNS = ("batch_id", "number", "custom_id", "model", "body")


async def take_in(connection: asyncpg.Connection, asked: Mapping[str, Any]) -> None:
    """Read a batch's input, unless somebody does already. Raises one of ``PROBLEMS``."""
    batch = asked["batch"]
    async with connection.transaction():
        row = await connection.fetchrow(
            "SELECT endpoint, input_file FROM ebbtide.batches WHERE id = $1 AND status = 'validating' "
            "FOR UPDATE SKIP LOCKED",
            batch,
        )
        if row is None:
            return
        reader = Reader(row["endpoint"], asked["models"], asked["others"])
        try:
            async with connection.transaction():
                await _write(connection, batch, content(connection, row["input_file"]), reader)
                if reader.findings:
                    raise _Refused
        except _Refused:
            errors = json.dumps([each.document() for each in reader.findings[:MOST_FINDINGS]])
            await connection.execute(
                "UPDATE ebbtide.batches SET status = 'failed', ended_at = now(), errors = $2, total = $3 WHERE id = $1",
                batch,
                errors,
                reader.count,
            )
            return
        await connection.execute(
            "UPDATE ebbtide.batches SET status = 'in_progress', begun_at = now(), total = $2 WHERE id = $1",
            batch,
            reader.count,
        )


class _Refused(Exception):
    """Input with findings: none of its lines is kept."""


async def _write(connection: asyncpg.Connection, batch: str, pieces: AsyncIterator[bytes], reader: Reader) -> None:
    records: list[tuple[str, int, str, str, bytes]] = []
    try:
        async for line in lines_of(pieces):
            if (read := reader.read(line)) is not None:
                records.append((batch, *read))
            if reader.count > MOST_LINES:
                reader.findings.append(Finding("too_many_tasks", f"more than {MOST_LINES} lines"))
                return
            if len(records) == _AT_ONCE:
                await _copy(connection, records)
            if len(reader.findings) >= MOST_FINDINGS:
                return
    except LineTooLong:
        too_long = f"longer than {MOST_LINE_BYTES} bytes"
        reader.findings.append(Finding("invalid_json_line", too_long, reader.count + 1))
        return
    await _copy(connection, records)
    if reader.count == 0:
        reader.findings.append(Finding("empty_file", "the file has no line, or was deleted"))


async def _copy(connection: asyncpg.Connection, records: list[tuple[str, int, str, str, bytes]]) -> None:
    await connection.copy_records_to_table("batch_lines", schema_name="ebbtide", columns=_COLUMNS, records=records)
    records.clear()


if __name__ == "__main__":
    raise SystemExit(run(take_in, "a batch could not be read"))
