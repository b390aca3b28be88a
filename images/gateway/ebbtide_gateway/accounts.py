"""Keys of the stack's database and the usage that is written to it, for a gateway that answers while it is away.

Imported only where a stack has a database. A request asks memory alone once its key is known: what changes in the
database is heard of by asking for changes, which works through every proxy and notices a connection that has died.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import os
import sys
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar

import asyncpg
from ebbtide_accounts import groups, keys, retention, usage, versions
from ebbtide_accounts.connection import PROBLEMS, Location, describe, open_pool
from ebbtide_accounts.keys import Key

from .access_log import Record
from .budgets import Group
from .day_sums import DaySums
from .errors import ApiError
from .keys import Caller, KeyRing
from .limits import Holder, limits_of
from .lives import Lives
from .settings import Database
from .usage import UsageLog, Use

_log = logging.getLogger("ebbtide.gateway.accounts")
_MOST_KNOWN, _MOST_NOBODYS = 50_000, 1000
_LOOKUP_SECONDS = 2.0
_LOOKUPS_AT_ONCE = 16
_RETRY_AFTER_SECONDS = 5.0
_WRITE_SECONDS = 1.0
_BATCH_ROWS = 1000
_LAST_WRITE_SECONDS = 5.0
_AGAIN_SECONDS = (0.5, 1.0, 2.0)
_UNUSABLE_SECONDS = 30.0
T = TypeVar("T")


class SchemaUnusable(Exception):
    """Schema that this program does not know, or cannot bring to what it knows."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the database last said of a key. ``age``: by which connection."""

    key: Key
    age: int


class Accounts:
    """The database of one process: followed, asked and written to. ``sums``: tokens of the holders of limits;
    ``lives``: what the cluster shows of nodes and pods.
    """

    def __init__(self, settings: Database, log: UsageLog, sums: DaySums, lives: Lives) -> None:
        self._settings = settings
        self._lives = lives
        self._sums = sums
        # nothing is written while sums are asked for: a token is either in them or still counted here
        self._writing = asyncio.Lock()
        self._summed = self._forgot = self._dollars_wanted = self._charged = -math.inf
        self._charging: asyncio.Task[None] | None = None
        self._location = Location(settings.folder, settings.tls)
        self.log = log
        self._pool: asyncpg.Pool | None = None
        self._known: OrderedDict[bytes, Known] = OrderedDict()
        # apart, so that whoever tries keys cannot have known ones forgotten
        self._nobodys: OrderedDict[bytes, int] = OrderedDict()
        self._groups: dict[str, Group] = {}
        self._age = 0
        self._failures = 0
        self._heard = -math.inf
        self._lookups = asyncio.Semaphore(_LOOKUPS_AT_ONCE)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def is_up(self) -> bool:
        """Return True while the database answers."""
        return self._pool is not None

    def start(self) -> None:
        """Begin to follow the database; nothing waits for it."""
        self._tasks = [asyncio.create_task(self._follow()), asyncio.create_task(self._write_on())]
        for task in self._tasks:
            task.add_done_callback(_report)

    async def stop(self) -> None:
        """Write what is left, for as long as a stopping pod may take, and leave."""
        follow, write = self._tasks
        write.cancel()
        await asyncio.gather(write, return_exceptions=True)
        with contextlib.suppress(*PROBLEMS):
            async with asyncio.timeout(_LAST_WRITE_SECONDS):
                while len(self.log) and self._pool is not None:
                    await self._write(self._pool)
        for task in (follow, self._charging):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        if self._pool is not None:
            self._pool.terminate()
        if len(self.log):
            _log.error("%d request(s) are in no database: it was away when this gateway ended", len(self.log))

    async def caller(self, presented: bytes, ring: KeyRing) -> Caller | None:
        """Return the owner of a key; None if nobody has it. Raises ``ApiError`` 401 for one that is suspended or has
        expired, 503 if it is not known here and the database is away.
        """
        if not keys.may_be_one(presented):
            return None
        key = await self._key(keys.digest_of(presented))
        return None if key is None else self._caller(key, ring)

    def group(self, name: str, ring: KeyRing) -> Group | None:
        """Return a group: of the stack file, else of the database as it was heard last."""
        return ring.group(name) or self._groups.get(name)

    def groups(self, ring: KeyRing) -> list[str]:
        """Return the groups that may have keys made at run time."""
        return sorted({each.name for each in ring.groups if not each.admin} | self._groups.keys() - _admins(ring))

    async def hear_groups(self, connections: asyncpg.Pool) -> None:
        """Ask for the groups of the database: here at once after one was changed here."""
        self._groups = {each.name: _rights(each) for each in await groups.every(connections)}

    def _caller(self, key: Key, ring: KeyRing) -> Caller:
        """Return a key's owner, as long as it may ask. Raises ``ApiError``."""
        if key.suspended_at is not None:
            raise ApiError(401, "key_suspended", f"key {key.name!r} is suspended")
        if key.expires_at is not None and key.expires_at <= datetime.now(UTC):
            raise ApiError(401, "key_expired", f"key {key.name!r} has expired")
        rights = self.group(key.group, ring)
        if rights is None or rights.admin:
            raise ApiError(403, "group_missing", f"key {key.name!r} is of group {key.group!r}, which is no group here")
        return Caller(key.name, rights, key.id, limits_of(key.limits))

    async def caller_of(self, key_id: str, group: str, ring: KeyRing | None) -> Caller:
        """Return the owner of a key by its id, of the stack file or of the database, for what it asked for earlier.
        Raises ``ApiError`` as ``caller`` does, and 401 if the key is gone or of another group now.
        """
        if ring is None:
            raise ApiError(503, "starting", "the keys are not read yet", retry_after=_RETRY_AFTER_SECONDS)
        declared = next((caller for _, caller in ring.owners if caller.id == key_id), None)
        if declared is None:
            async with asyncio.timeout(_LOOKUP_SECONDS):
                key = await keys.named(self.connections(), key_id)
            declared = None if key is None else self._caller(key, ring)
        if declared is None or declared.group != group:
            raise ApiError(401, "invalid_api_key", "the key by which this was asked is gone")
        return declared

    async def know_sums(self, holders: Sequence[Holder]) -> None:
        """Have the sums of those that have a limit of a day or a month. Who asked lately waits for nothing: the sums
        are kept up to date beside the requests. Raises ``ApiError`` 503 if the database is away and the stack wants
        that.
        """
        if any(each.limits.counts_dollars for each in holders):
            self._dollars_wanted = time.monotonic()
        unknown = [each for each in holders if each.limits.is_summed_up and not self._sums.want(each)]
        if unknown and self._pool is not None:
            try:
                async with asyncio.timeout(_LOOKUP_SECONDS):
                    await self._ask_sums(self._pool, unknown)
            except PROBLEMS as problem:
                _log.warning("the sums of a day could not be asked for: %s", describe(problem))
        if self._settings.limits_while_away == "closed":
            for holder in holders:
                if holder.limits.is_summed_up and not (self.is_up and self._sums.is_current(holder)):
                    message = f"the database is away, and without it nobody knows how much {holder} has used"
                    raise ApiError(503, "database_away", message, retry_after=_RETRY_AFTER_SECONDS)

    async def _ask_sums(self, connections: asyncpg.Pool, unknown: Sequence[Holder] | None = None) -> None:
        """Ask for the sums that somebody needs; with ``unknown`` only if they still are when it is their turn."""
        async with self._writing:
            labels = self._sums.wanted()
            if not labels or (unknown is not None and all(map(self._sums.is_current, unknown))):
                return
            asked = time.monotonic()
            first = self._sums.today().replace(day=1)
            tokens = await usage.tokens_by_day(connections, labels, first)
            self._sums.answered(asked, tokens, await usage.dollars_by_day(connections, labels, first))
            self._summed = asked

    async def run(self, module: str, text: bytes = b"") -> tuple[int, bytes]:
        """Run a program that asks the database in a process of its own, with ``text`` to read; return its exit status
        and what it wrote. It ends with whoever waits for it.
        """
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            module,
            env={**os.environ, **self._location.environment()},
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            written, _ = await process.communicate(text)
        finally:
            if process.returncode is None:
                process.kill()
        assert process.returncode is not None
        return process.returncode, written

    def connections(self) -> asyncpg.Pool:
        """Return the connections. Raises ``ApiError`` 503 while the database is away."""
        if self._pool is None:
            raise away()
        return self._pool

    def forget(self, key: Key) -> None:
        """Ask again for a key that was changed here; the other gateways hear of it by themselves."""
        self._apply({key.id}, {})

    async def _key(self, digest: bytes) -> Key | None:
        known = self._known.get(digest)
        if known is not None and self._pool is not None and known.age == self._age:
            return known.key
        if self._pool is not None and self._nobodys.get(digest) == self._age:
            return None
        if self._pool is not None:
            try:
                return await self._ask(self._pool, digest)
            except PROBLEMS as problem:
                _log.warning("a key could not be looked up: %s", describe(problem))
        if known is not None and self._may_go_on():
            return known.key
        raise away()

    def _may_go_on(self) -> bool:
        return time.monotonic() - self._heard <= self._settings.known_seconds

    async def _ask(self, connections: asyncpg.Pool, digest: bytes) -> Key | None:
        age = self._age
        async with asyncio.timeout(_LOOKUP_SECONDS), self._lookups:
            found = await keys.find(connections, digest)
        if found is None:
            self._known.pop(digest, None)
            _keep(self._nobodys, digest, age, _MOST_NOBODYS)
        else:
            _keep(self._known, digest, Known(found, age), _MOST_KNOWN)
        return found

    def _apply(self, ids: set[str], now: Mapping[bytes, Key]) -> None:
        """Have known keys as they are now, and forget those that are not. What can be replaced is not asked for
        again: the database may go away at once.
        """
        for digest in [each for each, known in self._known.items() if known.key.id in ids]:
            key = now.get(digest)
            if key is None:
                del self._known[digest]
            else:
                self._known[digest] = Known(key, self._age)

    async def _follow(self) -> None:
        """Connect, and hear of changes until the connection is lost; then again, with the URI as it is by then."""
        while True:
            pause = _AGAIN_SECONDS[min(self._failures, len(_AGAIN_SECONDS) - 1)]
            try:
                connections = await open_pool(self._location)
                try:
                    await self._bring_forward(connections)
                    await self._hear(connections)
                finally:
                    self._pool = None
                    connections.terminate()
            except SchemaUnusable as problem:
                _log.error("this gateway does without the database: %s", problem)
                pause = _UNUSABLE_SECONDS
            except PROBLEMS as problem:
                if self._failures == 0:
                    _log.warning("the database is away: %s", describe(problem))
            self._failures += 1
            await asyncio.sleep(pause)

    async def _bring_forward(self, connections: asyncpg.Pool) -> None:
        """Have the schema brought to this program's version, by a process that ends: its libraries take as much memory
        as all the rest. Raises ``SchemaUnusable``.
        """
        state = await versions.state(connections)
        if state == "older":
            await self.run("ebbtide_accounts.migrate")
            state = await versions.state(connections)
            if state == "older":
                raise SchemaUnusable("its schema could not be brought forward")
        if state == "newer":
            raise SchemaUnusable("its schema is newer than this gateway")

    async def _hear(self, connections: asyncpg.Pool) -> None:
        """Follow keys that are changed, until the database does not answer."""
        now = (await keys.changed(connections, None)).now
        await self.hear_groups(connections)
        # whatever was known may have changed meanwhile: each key is asked for once more
        self._age += 1
        self._heard, self._pool, self._failures = time.monotonic(), connections, 0
        _log.warning("the database answers")
        while True:
            await asyncio.sleep(self._settings.poll_seconds)
            asked = time.monotonic()
            async with asyncio.timeout(_LOOKUP_SECONDS):
                changes = await keys.changed(connections, now)
                await self.hear_groups(connections)
            now, self._heard = changes.now, asked
            self._apply(changes.ids, changes.keys)

    async def _write_on(self) -> None:
        while True:
            await asyncio.sleep(_WRITE_SECONDS)
            try:
                while self._pool is not None and await self._write(self._pool) == _BATCH_ROWS:
                    pass
                if self._pool is not None and time.monotonic() - self._summed >= self._settings.sum_seconds:
                    await self._ask_sums(self._pool)
                if self._pool is not None:
                    await self._lives.write(self._pool)
                    await self._forget_old(self._pool)
                    self._charge_again()
            except PROBLEMS as problem:
                _log.warning("%d request(s) are to be written still: %s", len(self.log), describe(problem))

    def _charge_again(self) -> None:
        """Have what was used lately charged by a process of its own, while somebody has a limit of dollars."""
        every, now = self._settings.charge_seconds, time.monotonic()
        if now - self._charged < every or now - self._dollars_wanted > 2 * every:
            return
        self._charged = now
        self._charging = asyncio.create_task(self._charge(every))

    def warm_hours(self) -> list[dict[str, object]]:
        """Return the hours in which the stack file keeps models, as the programs that charge read them."""
        return [each.model_dump() | {"days": sorted(each.days)} for each in self._settings.warm]

    async def _charge(self, every_seconds: float) -> None:
        asked = {"every_seconds": every_seconds, "warm": self.warm_hours()}
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(every_seconds):
                await self.run("ebbtide_accounts.spending", json.dumps(asked).encode())

    async def _forget_old(self, connections: asyncpg.Pool) -> None:
        days, now = self._settings.usage_days, time.monotonic()
        if days is not None and now - self._forgot >= self._settings.forget_seconds:
            await retention.forget(connections, days)
            self._forgot = now

    async def _write(self, connections: asyncpg.Pool) -> int:
        """Write one batch, and return its size."""
        rows, going = self.log.batch(_BATCH_ROWS, datetime.now(UTC) - timedelta(seconds=_WRITE_SECONDS))
        if not rows:
            return 0
        async with self._writing:
            await usage.write(connections, rows)
            self.log.written(rows, going)
            for row in rows[: len(rows) - len(going)]:
                for label in usage.labels_of(row):
                    self._sums.written(label, usage.day_of(row), row.tokens)
        last: dict[str, datetime] = {}
        for row in rows:
            last[row.key_id] = max(row.at, last.get(row.key_id, row.at))
        await keys.used(connections, list(last.items()))
        return len(rows)

    def begin(self, caller: Caller, model: str, served_by: str, hides: bool, record: Record) -> None:
        """Count a request from here."""
        record.use = Use(caller, model, hides, served_by)
        self.log.begin(record.use, record)

    def end(self, use: Use, record: Record) -> None:
        """Note a request that has ended, however it did, and count its tokens until the database has them."""
        row = self.log.end(use, record)
        for label in usage.labels_of(row):
            self._sums.count(label, usage.day_of(row), row.tokens)


def _rights(group: groups.Group) -> Group:
    """Return what a group of the database may: never what the stack file alone may give."""
    wake = None if group.wake is None else frozenset(group.wake)
    return Group(group.name, frozenset(group.models), wake, limits_of(group.limits))


def _admins(ring: KeyRing) -> set[str]:
    return {each.name for each in ring.groups if each.admin}


def _keep(kept: OrderedDict[bytes, T], digest: bytes, value: T, most: int) -> None:
    kept[digest] = value
    kept.move_to_end(digest)
    if len(kept) > most:
        kept.popitem(last=False)


def _report(task: asyncio.Task[None]) -> None:
    """Log that a task has ended which never should: requests go on without it."""
    if not task.cancelled() and (problem := task.exception()) is not None:
        _log.error("the database is no longer used: %s", describe(problem))


def away() -> ApiError:
    """Return the 503 for what only the database knows."""
    message = "the database of keys is away, and this key is not known here yet"
    return ApiError(503, "database_away", message, retry_after=_RETRY_AFTER_SECONDS)
