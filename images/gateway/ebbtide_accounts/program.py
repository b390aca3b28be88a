"""Programs that ask the database in a process of their own and end: they read what is asked as JSON, and write what
there is to answer.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import asyncpg

from .connection import PROBLEMS, Location, connect, describe

Work = Callable[[asyncpg.Connection, Mapping[str, Any]], Awaitable[object]]
"""Asks the database; what it returns is the answer, None: there is none to write."""


def run(work: Work, failure: str) -> int:
    """Do it. Returns the exit status: 1, with ``failure`` in the log, where the database cannot be asked."""
    try:
        answer = asyncio.run(_connected(work, json.load(sys.stdin)))
    except PROBLEMS as problem:
        print(f"{failure}: {describe(problem)}", file=sys.stderr)
        return 1
    if answer is not None:
        print(json.dumps(answer))
    return 0


async def _connected(work: Work, asked: Mapping[str, Any]) -> object:
    connection = await connect(Location.from_environment())
    try:
        return await work(connection, asked)
    finally:
        await connection.close()
