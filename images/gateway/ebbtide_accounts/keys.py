"""Keys that are made at run time. Only a hash of each is kept: plain SHA-256 suffices for 256 random bits, which nobody
can try one by one, and leaves no second secret that every gateway would have to share."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import asyncpg

_BYTES = 32
_SHAPE = re.compile(rb"sk-[A-Za-z0-9_-]{43}")
_OWN = (
    *("id", "name", "group_name", "last_four", "made_by", "made_at", "expires_at", "suspended_at", "last_used_at"),
    "former_until",
)
LIMITS = (
    "requests_per_minute",
    "tokens_per_minute",
    "tokens_per_day",
    "tokens_per_month",
    "concurrent_requests",
    "max_wakes_per_day",
    "dollars_per_day",
    "dollars_per_month",
)
"""Limits that a key may have, the smallest of its own and its group's hold."""
_COLUMNS = ", ".join((*_OWN, *LIMITS))

# all of it this module's own text: values are never in a statement
_FIND = f"SELECT sha256, former_sha256, {_COLUMNS} FROM ebbtide.keys WHERE sha256 = $1 OR former_sha256 = $1"  # noqa: S608
_NAMED = f"SELECT {_COLUMNS} FROM ebbtide.keys WHERE id = $1 AND deleted_at IS NULL"  # noqa: S608
_LIST = f"SELECT {_COLUMNS} FROM ebbtide.keys WHERE deleted_at IS NULL ORDER BY name"  # noqa: S608
_CHANGED = (
    f"SELECT now() AS now, sha256, former_sha256, {_COLUMNS} FROM (SELECT) AS always "  # noqa: S608
    "LEFT JOIN ebbtide.keys ON changed_at > $1::timestamptz - interval '10 s'"
)
_CREATE = (
    "INSERT INTO ebbtide.keys (id, name, group_name, sha256, last_four, made_by, expires_at, "  # noqa: S608
    f"{', '.join(LIMITS)}) VALUES ({', '.join(f'${n}' for n in range(1, 8 + len(LIMITS)))}) RETURNING {_COLUMNS}"
)


class NameTaken(Exception):
    """Name that another key has."""


@dataclass(frozen=True)
class Key:
    """One key, without itself. Times are UTC; ``suspended_at`` None: it is not suspended. ``former_until``: until when
    the secret that it had before is taken as well. ``limits``: those it has.
    """

    id: str
    name: str
    group: str
    last_four: str
    made_by: str
    made_at: datetime
    expires_at: datetime | None
    suspended_at: datetime | None
    last_used_at: datetime | None
    former_until: datetime | None = None
    limits: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Changes:
    """What was changed by ``now`` (UTC). ``keys``: by their hashes; of ``ids`` those that are not in it are deleted."""

    now: datetime
    ids: set[str] = field(default_factory=set)
    keys: dict[bytes, Key] = field(default_factory=dict)


def new_key() -> str:
    """Return a key that nobody has seen yet."""
    return "sk-" + secrets.token_urlsafe(_BYTES)


def may_be_one(presented: bytes) -> bool:
    """Return True if a text has the shape of a key from here: no other is ever asked for."""
    return _SHAPE.fullmatch(presented) is not None


def digest_of(key: bytes) -> bytes:
    """Return the form in which a key is kept."""
    return hashlib.sha256(key).digest()


async def find(pool: asyncpg.Pool, digest: bytes) -> Key | None:
    """Return the key with this hash, suspended or expired ones too; by its former hash it ends when that does."""
    row = await pool.fetchrow(_FIND, digest)
    return None if row is None else _by_hash(row).get(digest)


async def named(pool: asyncpg.Pool, key_id: str) -> Key | None:
    """Return the key with this id, suspended or expired ones too; None if it is gone."""
    return _key(await pool.fetchrow(_NAMED, key_id))


async def every(pool: asyncpg.Pool) -> list[Key]:
    """Return all keys by name."""
    rows = await pool.fetch(_LIST)
    return [key for row in rows if (key := _key(row)) is not None]


async def create(
    pool: asyncpg.Pool,
    name: str,
    group: str,
    made_by: str,
    expires_at: datetime | None,
    limits: Mapping[str, float | None],
) -> tuple[Key, str]:
    """Return a new key's entry, and the key itself, which is nowhere else. Raises ``NameTaken``."""
    made = new_key()
    values = (
        secrets.token_hex(8),
        name,
        group,
        digest_of(made.encode()),
        made[-4:],
        made_by,
        expires_at,
        *map(limits.get, LIMITS),
    )
    try:
        row = await pool.fetchrow(_CREATE, *values)
    except asyncpg.UniqueViolationError:
        raise NameTaken(name) from None
    key = _key(row)
    assert key is not None
    return key, made


async def suspend(pool: asyncpg.Pool, name: str) -> Key | None:
    """Suspend a key that is not yet. Returns None if there is no such key, as all of these do."""
    return await _change(pool, name, "suspended_at = coalesce(suspended_at, now())")


async def resume(pool: asyncpg.Pool, name: str) -> Key | None:
    """Take a suspension back."""
    return await _change(pool, name, "suspended_at = NULL")


async def expire(pool: asyncpg.Pool, name: str, at: datetime | None) -> Key | None:
    """Set the moment from which a key is refused; None: never."""
    return await _change(pool, name, "expires_at = $2", at)


async def limit(pool: asyncpg.Pool, name: str, limits: Mapping[str, float | None]) -> Key | None:
    """Set some of a key's limits; None takes one away."""
    known = [each for each in LIMITS if each in limits]
    changes = [f"{each} = ${number}" for number, each in enumerate(known, 2)]
    return await _change(pool, name, ", ".join(changes), *(limits[each] for each in known))


async def delete(pool: asyncpg.Pool, name: str) -> Key | None:
    """Delete a key and its hash; its id and name stay, for the usage that was its own."""
    return await _change(pool, name, "deleted_at = now(), sha256 = NULL, former_sha256 = NULL, former_until = NULL")


async def rotate(pool: asyncpg.Pool, name: str, overlap: timedelta = timedelta(0)) -> tuple[Key, str] | None:
    """Return a key's entry and its new secret. The one it had is refused after ``overlap``, any before that at once."""
    made = new_key()
    former = "former_sha256 = NULL, former_until = NULL"
    if overlap:
        former = "former_sha256 = sha256, former_until = now() + $4"
    values = (digest_of(made.encode()), made[-4:], *((overlap,) if overlap else ()))
    key = await _change(pool, name, f"sha256 = $2, last_four = $3, {former}", *values)
    return None if key is None else (key, made)


async def changed(pool: asyncpg.Pool, since: datetime | None) -> Changes:
    """Return the keys that were changed since an earlier time of the database, none if that is None. Ten seconds before
    it count too: a change has the time at which its transaction began.
    """
    rows = await pool.fetch(_CHANGED, since)
    changes = Changes(rows[0]["now"])
    for row in rows:
        if row["id"] is not None:
            changes.ids.add(row["id"])
            changes.keys.update(_by_hash(row))
    return changes


async def used(pool: asyncpg.Pool, last: Sequence[tuple[str, datetime]]) -> None:
    """Note when keys were last used. That is no change of a key: nobody has to read it again for that."""
    await pool.execute(
        "UPDATE ebbtide.keys SET last_used_at = greatest(last_used_at, used.at) "
        "FROM unnest($1::text[], $2::timestamptz[]) AS used (id, at) WHERE keys.id = used.id",
        [key for key, _ in last],
        [at for _, at in last],
    )


async def _change(pool: asyncpg.Pool, name: str, what: str, *values: Any) -> Key | None:
    """Change a key by one statement: ``what`` is this module's own text."""
    return _key(
        await pool.fetchrow(
            f"UPDATE ebbtide.keys SET {what}, changed_at = now() "  # noqa: S608
            f"WHERE name = $1 AND deleted_at IS NULL RETURNING {_COLUMNS}",
            name,
            *values,
        )
    )


def _by_hash(row: Any) -> dict[bytes, Key]:
    """Return a key by its hash, and by its former one with the end of that; none if it is deleted."""
    key = _key(row)
    if key is None or row["sha256"] is None:
        return {}
    by_hash = {row["sha256"]: key}
    if key.former_until is not None:
        ends = min(key.former_until, key.expires_at or key.former_until)
        by_hash[row["former_sha256"]] = replace(key, expires_at=ends)
    return by_hash


def _key(row: Any) -> Key | None:
    if row is None:
        return None
    limits = {name: row[name] for name in LIMITS if row[name] is not None}
    return Key(*(*(row[name] for name in _OWN), limits))
