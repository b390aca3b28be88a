"""The commands ``ebbtide keys …``: keys made, listed, suspended, renewed and deleted while a stack runs."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from typing import Any

from components.typed.units import Duration
from infra.commands.options import (
    KeyCreateOptions,
    KeyExpireOptions,
    KeyOptions,
    KeyRotateOptions,
    KeysListOptions,
    LimitOptions,
    ServedOptions,
)
from infra.console import console, say
from infra.errors import LocalProblem
from infra.served import access, accounts
from infra.served.accounts import Change, Key

_SHOWN = ("name", "group", "key", "state", "last used", "made by", "made at", "limits")
LIMITS = tuple(each.name for each in fields(LimitOptions) if each.name not in {own.name for own in fields(KeyOptions)})
"""Limits that a key may have, by the API's names."""


def create(options: KeyCreateOptions) -> int:
    """Make a key and show it, once. Returns the exit status. Raises ``LocalProblem``, as all of these do."""
    key, secret = accounts.create_key(
        at(options), options.name, options.group, moment(options.expires), limits(options)
    )
    _show_secret(key, secret, options.format)
    return 0


def show(options: KeysListOptions) -> int:
    """List the keys."""
    keys = accounts.every_key(at(options))
    if options.format == "json":
        print_as_is(json.dumps({"keys": keys}, indent=1))
    elif keys:
        for line in table([_SHOWN, *(_row(key) for key in keys)]):
            say(line)
    else:
        say("no key was made at run time; those of the stack file are in the stack file")
    return 0


def change(options: KeyOptions, what: Change) -> int:
    """Suspend a key, or take that back."""
    _show(accounts.change_key(at(options), options.name, what)["key"], options.format)
    return 0


def rotate(options: KeyRotateOptions) -> int:
    """Renew a key's secret."""
    body = None
    if options.overlap is not None:
        try:
            body = {"overlap_seconds": Duration.parse(options.overlap).seconds}
        except ValueError as problem:
            raise LocalProblem(f"--overlap {options.overlap[:40]!r} {problem}", "write one like 24h") from None
    changed = accounts.change_key(at(options), options.name, "rotate", body)
    _show_secret(changed["key"], changed["secret"], options.format)
    return 0


def expire(options: KeyExpireOptions) -> int:
    """Set the moment from which a key is refused."""
    ends = None if options.expires == "never" else moment(options.expires)
    _show(accounts.change_key(at(options), options.name, "expire", {"expires_at": ends})["key"], options.format)
    return 0


def limit(options: LimitOptions) -> int:
    """Set some limits of a key, or take them away."""
    asked = limits(options)
    if not asked:
        raise LocalProblem("no limit is given", f"give some of {', '.join(map(_option, LIMITS))}")
    _show(accounts.change_key(at(options), options.name, "limit", asked)["key"], options.format)
    return 0


def limits(options: LimitOptions) -> dict[str, float | None]:
    """Return the limits that are given, by the API's names; None: to be taken away. Raises ``LocalProblem``."""
    asked = {name: text for name in LIMITS if (text := getattr(options, name)) is not None}
    return {name: None if text == "none" else _limit(name, text) for name, text in asked.items()}


def _limit(name: str, text: str) -> float:
    of_dollars = name.startswith("dollars_")
    if not re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,2})?" if of_dollars else r"[0-9]{1,13}", text) or float(text) == 0:
        what = "a number above 0, like 12.50," if of_dollars else "a whole number above 0,"
        raise LocalProblem(f"{_option(name)} {text[:40]!r} is no limit", f"write {what} or none for no limit")
    return float(text) if of_dollars else int(text)


def delete(options: KeyOptions) -> int:
    """Delete a key."""
    key = accounts.delete_key(at(options), options.name)
    if options.format == "json":
        print_as_is(json.dumps({"key": key}, indent=1))
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


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def limited(holder: Mapping[str, Any]) -> str:
    """Return the limits of a key or a group in words; nothing if it has none."""
    limits = {name.replace("_", " "): most for name, most in (holder.get("limits") or {}).items() if most is not None}
    return ", ".join(f"{name} {most}" for name, most in limits.items())


def at(options: ServedOptions) -> access.Access:
    """Return the gateway that is asked."""
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
    return (
        key["name"],
        key["group"],
        f"…{key['last_four']}",
        state,
        used,
        key["made_by"],
        key["made_at"],
        limited(key) or None,
    )


def _show(key: Key, form: str) -> None:
    if form == "json":
        print_as_is(json.dumps({"key": key}, indent=1))
    else:
        own = f"; at most {most}" if (most := limited(key)) else ""
        say(f"key {key['name']} of group {key['group']}: {_state(key, datetime.now(UTC))}{own}")


def _show_secret(key: Key, secret: str, form: str) -> None:
    if form == "json":
        print_as_is(json.dumps({"key": key, "secret": secret}, indent=1))
        return
    print_as_is(secret)
    say(f"  (key {key['name']} of group {key['group']}; it is shown this once, and kept only as its hash)")


def print_as_is(text: str) -> None:
    """Print a text for programs, or to be copied: without a mark or a break."""
    console.print(text, markup=False, soft_wrap=True, highlight=False)
