"""The commands ``ebbtide keys …``: keys made, listed, suspended, renewed and deleted while a stack runs."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from components.typed.units import Duration
from infra.commands.options import KeyCreateOptions, KeyExpireOptions, KeyOptions, KeysListOptions, ServedOptions
from infra.console import console, say
from infra.errors import LocalProblem
from infra.served import access, accounts
from infra.served.accounts import Change, Key

_SHOWN = ("name", "group", "key", "state", "last used", "made by", "made at")


def create(options: KeyCreateOptions) -> int:
    """Make a key and show it, once. Returns the exit status. Raises ``LocalProblem``, as all of these do."""
    key, secret = accounts.create_key(_at(options), options.name, options.group, moment(options.expires))
    _show_secret(key, secret, options.format)
    return 0


def show(options: KeysListOptions) -> int:
    """List the keys."""
    keys = accounts.every_key(_at(options))
    if options.format == "json":
        _print(json.dumps({"keys": keys}, indent=1))
    elif keys:
        for line in table([_SHOWN, *(_row(key) for key in keys)]):
            say(line)
    else:
        say("no key was made at run time; those of the stack file are in the stack file")
    return 0


def change(options: KeyOptions, what: Change) -> int:
    """Suspend a key, take that back, or renew its secret."""
    changed = accounts.change_key(_at(options), options.name, what)
    if "secret" in changed:
        _show_secret(changed["key"], changed["secret"], options.format)
    else:
        _show(changed["key"], options.format)
    return 0


def expire(options: KeyExpireOptions) -> int:
    """Set the moment from which a key is refused."""
    at = None if options.expires == "never" else moment(options.expires)
    _show(accounts.change_key(_at(options), options.name, "expire", {"expires_at": at})["key"], options.format)
    return 0


def delete(options: KeyOptions) -> int:
    """Delete a key."""
    key = accounts.delete_key(_at(options), options.name)
    if options.format == "json":
        _print(json.dumps({"key": key}, indent=1))
    else:
        say(f"key {key['name']} is deleted; every gateway refuses it within 5 s")
    return 0


def moment(text: str | None, *, ago: bool = False) -> str | None:
    """Return a moment as the API takes it, from an ISO time or from a length of time like ``720h``: from now on, or
    ``ago``. Raises ``LocalProblem``.
    """
    if text is None:
        return None
    with contextlib.suppress(ValueError):
        away = timedelta(seconds=Duration.parse(text).seconds)
        return (datetime.now(UTC) + (-away if ago else away)).isoformat(timespec="seconds")
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise LocalProblem(f"{text[:40]!r} is no time", "write a length up to 720h, or a day like 2027-01-31") from None
    return (read if read.tzinfo else read.replace(tzinfo=UTC)).isoformat()


def table(rows: Iterable[Iterable[Any]]) -> list[str]:
    """Return rows as lines with columns of one width."""
    cells = [["–" if cell is None else str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _at(options: ServedOptions) -> access.Access:
    return access.find(options.stack, options.url, options.key, options.key_env)


def _state(key: Key, now: datetime) -> str:
    if key["suspended_at"]:
        return f"suspended {key['suspended_at']}"
    if not key["expires_at"]:
        return "good"
    end = str(key["expires_at"])
    return f"expired {end}" if datetime.fromisoformat(end) <= now else f"until {end}"


def _row(key: Key) -> tuple[Any, ...]:
    state = _state(key, datetime.now(UTC))
    used = key["last_used_at"] or "never"
    return (key["name"], key["group"], f"…{key['last_four']}", state, used, key["made_by"], key["made_at"])


def _show(key: Key, form: str) -> None:
    if form == "json":
        _print(json.dumps({"key": key}, indent=1))
    else:
        say(f"key {key['name']} of group {key['group']}: {_state(key, datetime.now(UTC))}")


def _show_secret(key: Key, secret: str, form: str) -> None:
    if form == "json":
        _print(json.dumps({"key": key, "secret": secret}, indent=1))
        return
    _print(secret)
    say(f"  (key {key['name']} of group {key['group']}; it is shown this once, and kept only as its hash)")


def _print(text: str) -> None:
    console.print(text, markup=False, soft_wrap=True, highlight=False)
