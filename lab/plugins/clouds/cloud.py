"""A cloud that is a folder: a JSON file per resource, shared by all processes of a rehearsal, changed under a lock."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any


@dataclass(kw_only=True)
class Record:
    """One resource as the cloud has it. ``outputs`` are its live values, ``inputs`` the last requested values that are
    not among them (Azure, for example, does not return a resource's group); ``keys`` are all texts by which others
    name it; ``gone``: deleted as far as that is possible, while its name stays taken."""

    type: str
    id: str
    outputs: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, Any] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    scope: str = ""
    gone: bool = False

    @property
    def known(self) -> dict[str, Any]:
        """Return everything that is known about the resource."""
        return {**self.inputs, **self.outputs}


@dataclass(frozen=True)
class Cloud:
    """The resources of one package in one rehearsal folder."""

    folder: Path
    package: str

    @property
    def root(self) -> Path:
        return self.folder / self.package

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold this cloud's lock, which keeps out other threads as well as other processes. Not reentrant."""
        self.root.mkdir(parents=True, exist_ok=True)
        with (self.root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def get(self, type_: str, id_: str) -> Record | None:
        """Return the resource, or None where there is none."""
        try:
            return Record(**json.loads(self._file(type_, id_).read_text()))
        except FileNotFoundError:
            return None

    def put(self, record: Record) -> None:
        """Write the resource, whole or not at all."""
        file = self._file(record.type, record.id)
        file.parent.mkdir(parents=True, exist_ok=True)
        fresh = file.with_name(f".{file.name}.{os.getpid()}")
        fresh.write_text(json.dumps(asdict(record), indent=1))
        fresh.replace(file)

    def remove(self, record: Record) -> None:
        """Forget the resource."""
        self._file(record.type, record.id).unlink(missing_ok=True)

    def all(self, type_: str | None = None) -> list[Record]:
        """Return every resource, or every one of a type, in no particular order."""
        records = [Record(**json.loads(file.read_text())) for file in sorted(self.root.glob("*.json"))]
        return [record for record in records if type_ in (None, record.type)]

    def named(self, type_: str, key: str) -> Record | None:
        """Return the resource of a type that ``key`` names: by id, name or another of its keys."""
        records = (record for record in self.all(type_) if key == record.id or key in record.keys)
        return next((record for record in records if not record.gone), None)

    def _file(self, type_: str, id_: str) -> Path:
        return self.root / f"{hashlib.sha256(f'{type_} {id_}'.encode()).hexdigest()[:24]}.json"
