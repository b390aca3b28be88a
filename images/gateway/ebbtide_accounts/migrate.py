"""Entry point ``python -m ebbtide_accounts.migrate``: brings the schema forward, under a lock that gateways share."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import create_async_engine

from .connection import PROBLEMS, Location, connect, describe
from .versions import NEWER_STATUS, SCHEMA

# any number that nobody else takes for a lock of the same database
_LOCK = 4_027_118_605


class Newer(Exception):
    """Schema of a later program: nothing here knows what it means."""


def configuration(connection: Connection | None = None) -> Config:
    """Return Alembic's configuration, which is in no file."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).with_name("schema")))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection, to: str = "head") -> None:
    """Bring the schema to a version, all or nothing, while nobody else does. Raises ``Newer``."""
    connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
    # asked for first: `IF NOT EXISTS` wants the right to make one even where it is there
    if connection.scalar(text("SELECT to_regnamespace(:schema) IS NULL"), {"schema": SCHEMA}):
        connection.execute(text(f"CREATE SCHEMA {SCHEMA}"))
    config = configuration(connection)
    known = {each.revision for each in ScriptDirectory.from_config(config).walk_revisions()}
    context = MigrationContext.configure(connection, opts={"version_table_schema": SCHEMA})
    if set(context.get_current_heads()) - known:
        raise Newer
    command.upgrade(config, to)


async def migrate(location: Location, to: str = "head") -> None:
    """Connect and bring the schema forward. Raises ``Newer``, ``OSError`` or what asyncpg and SQLAlchemy raise."""

    async def connected() -> asyncpg.Connection:
        return await connect(location, server_settings={"lock_timeout": "60s"})

    engine = create_async_engine("postgresql+asyncpg://", async_creator=connected)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(upgrade, to)
    finally:
        await engine.dispose()


def main() -> int:
    """Migrate. Returns 0, ``NEWER_STATUS`` for a schema that is newer than this program, else 1."""
    try:
        asyncio.run(migrate(Location.from_environment()))
    except Newer:
        return NEWER_STATUS
    except (*PROBLEMS, SQLAlchemyError) as problem:
        print(
            f"the schema could not be brought forward: {describe(getattr(problem, 'orig', problem))}", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
