"""Admin API: keys and groups are made, listed and changed, usage and cost are summed up, by a group's own right."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, TypeVar, cast

from ebbtide_accounts import groups, keys, usage
from ebbtide_accounts.connection import PROBLEMS
from ebbtide_accounts.groups import Group, InUse
from ebbtide_accounts.keys import Key, NameTaken
from ebbtide_accounts.lives import microseconds
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from .accounts import Accounts, away
from .budgets import ANY_MODEL
from .errors import ApiError
from .keys import Caller, KeyRing
from .settings import Model

_KEYS, _GROUPS, _USAGE, _COST = "/admin/keys", "/admin/groups", "/admin/usage", "/admin/cost"
_LONGEST = timedelta(days=31)
_COST_SECONDS = 60.0
_CHANGES = ("suspend", "resume", "rotate", "expire", "limit")
_NAME = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_ONE = re.compile(rf"{_KEYS}/({_NAME})")
_CHANGE = re.compile(rf"{_KEYS}/({_NAME})/({'|'.join(_CHANGES)})")
_GROUP = re.compile(rf"{_GROUPS}/({_NAME})(/change)?")
_TIME = TypeAdapter(AwareDatetime)
Document = dict[str, Any]
Body = TypeVar("Body", bound=BaseModel)


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


_Most = Annotated[int, Field(ge=1, le=1_000_000_000_000, strict=True)]
_MostDollars = Annotated[float, Field(gt=0, le=1_000_000_000)]
_MostRequests = Annotated[int, Field(ge=1, le=100_000, strict=True)]


class Limits(_Body):
    """Limits of a key or a group: those that are given are set, None takes one away."""

    requests_per_minute: _MostRequests | None = None
    tokens_per_minute: _Most | None = None
    tokens_per_day: _Most | None = None
    tokens_per_month: _Most | None = None
    concurrent_requests: _MostRequests | None = None
    max_wakes_per_day: _MostRequests | None = None
    dollars_per_day: _MostDollars | None = None
    dollars_per_month: _MostDollars | None = None


class NewKey(_Body):
    """A key to be made. ``expires_at``: with its offset from UTC; None: never."""

    name: Annotated[str, Field(pattern=rf"^{_NAME}$")]
    group: str
    expires_at: AwareDatetime | None = None
    limits: Limits = Limits()


_Rights = Annotated[tuple[Annotated[str, Field(max_length=200)], ...], Field(max_length=200)]


class GroupRights(_Body):
    """What a group may use and wake, and its limits; of a change those that are given are set. ``wake`` None: all that
    it may use.
    """

    models: _Rights = ()
    wake: _Rights | None = None
    limits: Limits = Limits()


class NewGroup(GroupRights):
    """A group to be made."""

    name: Annotated[str, Field(pattern=rf"^{_NAME}$")]
    models: Annotated[_Rights, Field(min_length=1)]


class Expiry(_Body):
    """When a key ends. None: never."""

    expires_at: AwareDatetime | None


class Overlap(_Body):
    """Time for which a renewed key's former secret is taken as well."""

    overlap_seconds: Annotated[int, Field(ge=0, le=30 * 86_400, strict=True)] = 0


class Admin:
    """Answers to whoever has the right; all of them need the database."""

    def __init__(self, accounts: Accounts, models: Callable[[], Mapping[str, Model]]) -> None:
        self._accounts, self._models = accounts, models
        self._charging = asyncio.Lock()

    @staticmethod
    def methods_for(path: str) -> tuple[str, ...] | None:
        """Return the methods that a path takes; None if it is none of these."""
        if path in (_KEYS, _GROUPS):
            return ("GET", "POST", "OPTIONS")
        if (group := _GROUP.fullmatch(path)) is not None:
            return ("POST", "OPTIONS") if group[group.lastindex or 0] == "/change" else ("DELETE", "OPTIONS")
        if path in (_USAGE, _COST):
            return ("GET", "OPTIONS")
        if _ONE.fullmatch(path):
            return ("DELETE", "OPTIONS")
        return ("POST", "OPTIONS") if _CHANGE.fullmatch(path) else None

    async def answer(
        self, method: str, path: str, query: Mapping[str, str], body: bytes, caller: Caller, ring: KeyRing
    ) -> tuple[int, Document]:
        """Return status and answer. Raises ``ApiError``: 403 without the right, 503 while the database is away."""
        if not caller.rights.admin:
            message = f"your key's group {caller.group!r} has no right to keys and usage (admin in the stack file)"
            raise ApiError(403, "admin_not_allowed", message)
        try:
            if path == _USAGE:
                return 200, {"usage": await self._usage(query)}
            if path == _COST:
                return 200, await self._cost(query)
            if path.startswith(_GROUPS):
                return await self._of_groups(method, path, body, caller, ring)
            if path == _KEYS and method == "GET":
                return 200, {"keys": [shown(key) for key in await keys.every(self._accounts.connections())]}
            if path == _KEYS:
                return 201, await self._create(body, caller, ring)
            return 200, await self._change(path, body)
        except PROBLEMS:
            raise away() from None

    async def _create(self, body: bytes, caller: Caller, ring: KeyRing) -> Document:
        asked = parsed(NewKey, body)
        allowed = self._accounts.groups(ring)
        if asked.group not in allowed:
            # so that no key which is made here can make others: who may is the stack file's to say
            message = f"group {asked.group[:63]!r} may have no key made here; allowed: {', '.join(allowed) or 'none'}"
            raise ApiError(400, "invalid_parameter", message, param="group")
        if any(declared.name == asked.name for _, declared in ring.owners):
            raise _taken(asked.name, "the stack file has")
        try:
            made = await keys.create(
                self._accounts.connections(),
                asked.name,
                asked.group,
                caller.name,
                _future(asked.expires_at),
                asked.limits.model_dump(),
            )
        except NameTaken:
            raise _taken(asked.name, "there is") from None
        return _with_secret(*made)

    async def _change(self, path: str, body: bytes) -> Document:
        connections = self._accounts.connections()
        if (one := _ONE.fullmatch(path)) is not None:
            return self._changed(one[1], await keys.delete(connections, one[1]))
        match = _CHANGE.fullmatch(path)
        assert match is not None
        name, what = match[1], match[match.lastindex or 0]
        if what == "suspend":
            return self._changed(name, await keys.suspend(connections, name))
        if what == "resume":
            return self._changed(name, await keys.resume(connections, name))
        if what == "expire":
            at = parsed(Expiry, body).expires_at
            return self._changed(name, await keys.expire(connections, name, at))
        if what == "limit":
            limits = parsed(Limits, body).model_dump(exclude_unset=True)
            if not limits:
                message = f"no limit is given; allowed fields: {', '.join(Limits.model_fields)}"
                raise ApiError(400, "invalid_parameter", message)
            return self._changed(name, await keys.limit(connections, name, limits))
        overlap = parsed(Overlap, body).overlap_seconds if body else 0
        made = await keys.rotate(connections, name, timedelta(seconds=overlap))
        self._changed(name, made[0] if made is not None else None)
        assert made is not None
        return _with_secret(*made)

    def _changed(self, name: str, key: Key | None) -> Document:
        if key is None:
            raise ApiError(404, "key_not_found", f"there is no key {name!r} that was made here")
        self._accounts.forget(key)
        return {"key": shown(key)}

    async def _of_groups(
        self, method: str, path: str, body: bytes, caller: Caller, ring: KeyRing
    ) -> tuple[int, Document]:
        connections = self._accounts.connections()
        if path == _GROUPS and method == "GET":
            return 200, {"groups": [shown_group(group) for group in await groups.every(connections)]}
        if path == _GROUPS:
            asked = parsed(NewGroup, body)
            self._check_models(asked)
            if ring.group(asked.name) is not None:
                raise _taken(asked.name, "the stack file has", "group")
            try:
                made = await groups.create(
                    connections, asked.name, asked.models, asked.wake, caller.name, asked.limits.model_dump()
                )
            except NameTaken:
                raise _taken(asked.name, "there is", "group") from None
            await self._accounts.hear_groups(connections)
            return 201, {"group": shown_group(made)}
        match = _GROUP.fullmatch(path)
        assert match is not None
        changed = await (self._delete_group(match[1]) if method == "DELETE" else self._change_group(match[1], body))
        if changed is None:
            raise ApiError(404, "group_not_found", f"there is no group {match[1]!r} that was made here")
        await self._accounts.hear_groups(connections)
        return 200, {"group": shown_group(changed)}

    async def _change_group(self, name: str, body: bytes) -> Group | None:
        asked = parsed(GroupRights, body)
        self._check_models(asked)
        values = asked.model_dump(include=asked.model_fields_set - {"limits"})
        values |= asked.limits.model_dump(exclude_unset=True)
        if not values or ("models" in values and not values["models"]):
            raise ApiError(400, "invalid_parameter", "allowed fields: models (one or more), wake, limits")
        return await groups.change(self._accounts.connections(), name, values)

    async def _delete_group(self, name: str) -> Group | None:
        try:
            return await groups.delete(self._accounts.connections(), name)
        except InUse as used:
            message = f"group {name!r} has keys, which would be refused: {used}; delete them first"
            raise ApiError(409, "group_in_use", message) from None

    def _check_models(self, asked: GroupRights) -> None:
        """Raise ``ApiError`` 400 for rights to models that are not there."""
        known = {model.public_name for model in self._models().values() if model.asked_as is None}
        loads = {f"{model.name}/{ANY_MODEL}" for model in self._models().values() if model.hot_adapters}
        for name in (*asked.models, *(asked.wake or ())):
            if name not in (ANY_MODEL, *known, *loads):
                message = f"there is no model {name[:100]!r}; allowed: {', '.join(sorted((ANY_MODEL, *known, *loads)))}"
                raise ApiError(400, "invalid_parameter", message, param="models")

    async def _usage(self, query: Mapping[str, str]) -> list[Document]:
        by, since, until = _by(query), _moment(query, "since"), _moment(query, "until")
        return await usage.sums(self._accounts.connections(), by, since, until)

    async def _cost(self, query: Mapping[str, str]) -> Document:
        """Have a period charged by a process of its own, one at a time."""
        now = datetime.now(UTC)
        until = _moment(query, "until") or now
        since = _moment(query, "since") or until.astimezone(UTC).replace(
            day=1, hour=0, minute=0, second=0, microsecond=0
        )
        if not timedelta(0) < until - since <= _LONGEST:
            message = f"until has to be after since, and by at most {_LONGEST.days} days"
            raise ApiError(400, "invalid_parameter", message, param="since")
        by = _by(query)
        self._accounts.connections()
        asked = {
            "since": microseconds(since),
            "until": microseconds(until),
            "by": by,
            "warm": self._accounts.warm_hours(),
        }
        async with self._charging:
            rows = await self._charged(json.dumps(asked).encode())
        return {"cost": rows, "since": _text(since), "until": _text(until)}

    async def _charged(self, asked: bytes) -> list[Document]:
        try:
            async with asyncio.timeout(_COST_SECONDS):
                status, answer = await self._accounts.run("ebbtide_accounts.cost", asked)
        except TimeoutError:
            message = f"so much was used that it is not charged within {_COST_SECONDS:.0f} s; ask for fewer days"
            raise ApiError(503, "cost_timeout", message) from None
        if status != 0:
            raise away()
        return cast("list[Document]", json.loads(answer))


def shown(key: Key) -> Document:
    """Return what may be seen of a key."""
    return {
        "id": key.id,
        "name": key.name,
        "group": key.group,
        "last_four": key.last_four,
        "made_by": key.made_by,
        "made_at": _text(key.made_at),
        "expires_at": _text(key.expires_at),
        "suspended_at": _text(key.suspended_at),
        "last_used_at": _text(key.last_used_at),
        "former_until": _text(key.former_until),
        "limits": {name: key.limits.get(name) for name in keys.LIMITS},
    }


def _with_secret(key: Key, secret: str) -> Document:
    return {"key": shown(key), "secret": secret}


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.astimezone(UTC).isoformat(timespec="seconds")


def shown_group(group: Group) -> Document:
    """Return what may be seen of a group."""
    return {
        "name": group.name,
        "models": list(group.models),
        "wake": None if group.wake is None else list(group.wake),
        "made_by": group.made_by,
        "made_at": _text(group.made_at),
        "limits": {name: group.limits.get(name) for name in keys.LIMITS},
    }


def _taken(name: str, where: str, what: str = "key") -> ApiError:
    return ApiError(409, "name_taken", f"{where} a {what} {name!r} already", param="name")


def _future(moment: datetime | None) -> datetime | None:
    if moment is not None and moment <= datetime.now(UTC):
        raise ApiError(400, "invalid_parameter", "expires_at is in the past", param="expires_at")
    return moment


def _by(query: Mapping[str, str]) -> tuple[str, ...]:
    by = tuple(name for name in query.get("by", "").split(",") if name)
    if len(set(by)) < len(by) or not usage.SUMS_BY.keys() >= set(by):
        message = f"by takes each of these once: {', '.join(usage.SUMS_BY)}"
        raise ApiError(400, "invalid_parameter", message, param="by")
    return by


def _moment(query: Mapping[str, str], name: str) -> datetime | None:
    if name not in query:
        return None
    try:
        return _TIME.validate_python(query[name])
    except ValidationError:
        message = f"{name} is no time with an offset; allowed: like 2026-11-30T00:00:00Z"
        raise ApiError(400, "invalid_parameter", message, param=name) from None


def parsed(kind: type[Body], body: bytes) -> Body:
    """Parse a body. Raises ``ApiError`` 400 that names the fields, never their values."""
    try:
        return kind.model_validate(json.loads(body))
    except ValidationError as problem:
        first = problem.errors(include_input=False, include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the body"
        message = f"{where[:63]}: {first['msg']}; allowed fields: {', '.join(kind.model_fields)}"
        raise ApiError(400, "invalid_parameter", message, param=where[:63]) from None
    except (ValueError, RecursionError):
        raise ApiError(400, "invalid_json", "the request body is not JSON") from None
