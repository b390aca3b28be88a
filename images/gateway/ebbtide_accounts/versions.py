"""Versions of the schema, so that a gateway need not load Alembic to know that its own is there."""

from __future__ import annotations

from typing import Literal

import asyncpg

SCHEMA = "ebbtide"
VERSIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007")
"""Oldest first; each is a file of ``schema/versions``."""
NEWER_STATUS = 4
"""Exit status of the migration for a schema that is newer than the program."""


async def state(pool: asyncpg.Pool) -> Literal["older", "current", "newer"]:
    """Return how the database's schema stands to this program's; an empty database has an older one."""
    if await pool.fetchval(f"SELECT to_regclass('{SCHEMA}.alembic_version')") is None:
        return "older"
    rows = await pool.fetch(f"SELECT version_num FROM {SCHEMA}.alembic_version")  # noqa: S608
    versions = {row["version_num"] for row in rows}
    if versions - set(VERSIONS):
        return "newer"
    return "current" if versions == {VERSIONS[-1]} else "older"
