"""Groups that are made at run time. Those of the stack file are not among them, and win over one of the same name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg

from .keys import LIMITS, NameTaken

_OWN = ("name", "models", "wake", "made_by", "made_at")
_COLUMNS = ", ".join((*_OWN, *LIMITS))
_LIST = f"SELECT {_COLUMNS} FROM ebbtide.groups ORDER BY name"  # noqa: S608
_CREATE = (
    f"INSERT INTO ebbtide.groups (name, models, wake, made_by, {', '.join(LIMITS)}) "  # noqa: S608
    f"VALUES ({', '.join(f'${n}' for n in range(1, 5 + len(LIMITS)))}) RETURNING {_COLUMNS}"
)


class InUse(Exception):
    """Group that has keys. The message: some of their names."""


@dataclass(frozen=True)
class Group:
    """One group. ``wake`` None: its keys may wake all that they may use. ``limits``: those it has."""

    name: str
    models: tuple[str, ...]
    wake: tuple[str, ...] | None
    made_by: str
    made_at: datetime
    limits: Mapping[str, float] = field(default_factory=dict)


async def every(pool: asyncpg.Pool) -> list[Group]:
    """Return all groups by name."""
    return [_group(row) for row in await pool.fetch(_LIST)]


async def create(
    pool: asyncpg.Pool,
    name: str,
    models: Sequence[str],
    wake: Sequence[str] | None,
    made_by: str,
    limits: Mapping[str, float | None],
) -> Group:
    """Return a new group. Raises ``NameTaken``."""
    try:
        return _group(await pool.fetchrow(_CREATE, name, models, wake, made_by, *map(limits.get, LIMITS)))
    except asyncpg.UniqueViolationError:
        raise NameTaken(name) from None


async def change(pool: asyncpg.Pool, name: str, values: Mapping[str, Any]) -> Group | None:
    """Set some of a group's ``models``, ``wake`` and limits, by their columns; None takes a limit away, and of ``wake``
    the restriction. Returns None if there is no such group.
    """
    known = [each for each in ("models", "wake", *LIMITS) if each in values]
    changes = ", ".join([*(f"{each} = ${number}" for number, each in enumerate(known, 2)), "changed_at = now()"])
    row = await pool.fetchrow(
        f"UPDATE ebbtide.groups SET {changes} WHERE name = $1 RETURNING {_COLUMNS}",  # noqa: S608
        name,
        *(values[each] for each in known),
    )
    return None if row is None else _group(row)


async def delete(pool: asyncpg.Pool, name: str) -> Group | None:
    """Delete a group that has no keys. Returns None if there is no such group. Raises ``InUse``."""
    async with pool.acquire() as connection, connection.transaction():
        row = await connection.fetchrow(
            f"SELECT {_COLUMNS} FROM ebbtide.groups WHERE name = $1 FOR UPDATE",  # noqa: S608
            name,
        )
        if row is None:
            return None
        keys = await connection.fetch(
            "SELECT name FROM ebbtide.keys WHERE group_name = $1 AND deleted_at IS NULL ORDER BY name LIMIT 5", name
        )
        if keys:
            raise InUse(", ".join(key["name"] for key in keys))
        await connection.execute("DELETE FROM ebbtide.groups WHERE name = $1", name)
        return _group(row)


def _group(row: Any) -> Group:
    limits = {name: row[name] for name in LIMITS if row[name] is not None}
    wake = None if row["wake"] is None else tuple(row["wake"])
    return Group(row["name"], tuple(row["models"]), wake, row["made_by"], row["made_at"], limits)
