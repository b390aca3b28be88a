"""Callers and their groups: sha256 of keys in a mounted Secret, read again when the kubelet swaps it."""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic.alias_generators import to_camel

from .budgets import Group
from .limits import Holder, UsageLimits, limits_of


@dataclass(frozen=True)
class Caller:
    """Owner of a key. The key itself is nowhere in the process once it was checked. ``id`` stays the key's when it is
    renewed, and names where it was made. ``limits``: the key's own, beside its group's; None: it has none.
    """

    name: str
    rights: Group
    id: str = ""
    limits: UsageLimits | None = None

    @property
    def group(self) -> str:
        """Return the name of the key's group."""
        return self.rights.name

    @cached_property
    def holders(self) -> tuple[Holder, ...]:
        """Return whose limits a request has to keep: its group and its key, as far as they have any."""
        group = () if self.rights.limits is None else (Holder("group", self.group, self.group, self.rights.limits),)
        key = () if self.limits is None else (Holder("key", self.id, self.name, self.limits),)
        return (*group, *key)

    @property
    def counts_tokens(self) -> bool:
        """Return True if the tokens of the caller's requests have to be known, also where no database keeps them."""
        return any(each.limits.tokens_per_minute is not None for each in self.holders)

    def may_use(self, model: str) -> bool:
        """Return True if the caller's group may use the model with this canonical name."""
        return self.rights.may_use(model)


@dataclass(frozen=True)
class KeyRing:
    """Parsed key file: digests (hex, lower case) with their owners, and all groups."""

    owners: tuple[tuple[str, Caller], ...]
    groups: tuple[Group, ...] = ()

    @classmethod
    def parse(cls, text: str) -> KeyRing:
        """Parse the key file. Raises ``ValueError`` naming the entry that is wrong; never repeats a digest."""
        try:
            document = json.loads(text)
            groups = {str(name): _group(str(name), group) for name, group in document["groups"].items()}
            entries = [
                (str(key["name"]), str(key["sha256"]), str(key["group"]), _limits(key)) for key in document["keys"]
            ]
        except (ValueError, KeyError, TypeError, AttributeError) as problem:
            shape = "{keys: [{name, sha256, group}], groups: {name: {models}}}"
            raise ValueError(f"the key file is not {shape}: {type(problem).__name__}") from None
        owners = []
        for name, digest, group, limits in entries:
            if len(digest) != 64 or any(letter not in "0123456789abcdef" for letter in digest.lower()):
                raise ValueError(f"key {name!r}: sha256 must be 64 hexadecimal digits")
            if group not in groups:
                raise ValueError(f"key {name!r}: group {group!r} is none of {sorted(groups)}")
            owners.append((digest.lower(), Caller(name, groups[group], f"stack:{name}", limits)))
        return cls(tuple(owners), tuple(groups.values()))

    def group(self, name: str) -> Group | None:
        """Return the group with this name."""
        return next((group for group in self.groups if group.name == name), None)

    def find(self, presented: bytes) -> Caller | None:
        """Return the owner of a key. Every digest is compared, so the time taken does not reveal which one was near."""
        digest = hashlib.sha256(presented).hexdigest()
        owner = None
        for known, caller in self.owners:
            if hmac.compare_digest(known, digest):
                owner = caller
        return owner


def _group(name: str, group: dict[str, Any]) -> Group:
    wake = group.get("wake")
    return Group(
        name,
        frozenset(map(str, group["models"])),
        None if wake is None else frozenset(map(str, wake)),
        _limits(group),
        frozenset(map(str, group.get("loadAdapters", ()))),
        group.get("admin") is True,
    )


def _limits(holder: dict[str, Any]) -> UsageLimits | None:
    """Return the limits of a group or a key, by what the file calls them."""
    return limits_of({each.name: holder.get(to_camel(each.name)) for each in fields(UsageLimits)})


class KeyFile:
    """A ``KeyRing`` that follows its file. A file that cannot be read keeps the last good ring in force."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._ring: KeyRing | None = None
        self.problem: str | None = None

    @property
    def ready(self) -> bool:
        """Return True if a good ring was ever read."""
        return self.ring() is not None

    def ring(self) -> KeyRing | None:
        """Return the ring in force now. One ``stat`` a call: it follows the symlink a Secret volume swaps."""
        try:
            status = os.stat(self._path)
            stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
            if stamp == self._stamp:
                return self._ring
            self._ring = KeyRing.parse(self._path.read_text())
            self._stamp, self.problem = stamp, None
        except (OSError, ValueError) as problem:
            self.problem = str(problem)
        return self._ring
