"""Failures on demand: what the next operations on a type run into, ordered in ``failures.json`` in the folder.

The file is a list of ``{"type": …, "op": …, "kind": …, "times": n}``. ``type`` is a token or its last part
(``NodeGroup``), ``op`` one of create, read, update, delete. Each entry is used ``times`` times (once, when left out).

================  ==================================================================================================
kind              what happens
================  ==================================================================================================
throttle          the API says "too many requests"; the stand-in tries again, as real providers do
quota             refused, nothing is made
stockout          refused, nothing is made
timeoutHalfWay    done in the cloud, but the operation ends as failed
hang              done in the cloud, and no answer until the engine cancels or dies
================  ==================================================================================================
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal, get_args

from lab.plugins.clouds.cloud import Cloud
from lab.plugins.plugin import RefusedError

Kind = Literal["throttle", "quota", "stockout", "timeoutHalfWay", "hang"]
Op = Literal["create", "read", "update", "delete"]
FILE = "failures.json"


@dataclass
class Failure:
    """One entry of the list."""

    type: str
    op: Op
    kind: Kind
    times: int = 1

    def hits(self, type_: str, op: Op) -> bool:
        """Return True if the failure is meant for this operation and not used up."""
        return self.times > 0 and self.op == op and self.type in (type_, type_.rsplit(":", 1)[-1])


def order(folder: Path, *failures: Failure) -> None:
    """Make these failures happen from now on, instead of those ordered before."""
    (folder / FILE).write_text(json.dumps([asdict(failure) for failure in failures]))


def take(cloud: Cloud, type_: str, op: Op) -> Kind | None:
    """Return the failure that this operation runs into, and use it up. Raises `RefusedError` for an unknown kind."""
    file = cloud.folder / FILE
    if not file.exists():
        return None
    with cloud.locked():
        ordered = [Failure(**entry) for entry in json.loads(file.read_text())]
        if wrong := [f.kind for f in ordered if f.kind not in get_args(Kind)]:
            raise RefusedError(f"{file}: kind {wrong[0]!r}; allowed: {', '.join(get_args(Kind))}")
        for failure in ordered:
            if failure.hits(type_, op):
                failure.times -= 1
                file.write_text(json.dumps([asdict(each) for each in ordered]))
                return failure.kind
    return None
