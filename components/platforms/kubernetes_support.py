"""How long a cloud supports a minor version of Kubernetes: ``kubernetes.yaml`` of each place that makes clusters, and
what follows for a stack on a day. Pure."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from components.catalog.versions import numbers
from components.typed.refusal import Problem
from components.typed.rules.stack import KUBERNETES_UNSUPPORTED
from components.typed.tables import read_table

SOON = datetime.timedelta(days=60)
"""How long before its end a version is warned of: time for an upgrade by one minor version, tried out first."""


class _Row(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel)


class Release(_Row):
    """One minor version in one cloud. ``extended_end`` is None where no source gives the day."""

    released: datetime.date
    end: datetime.date
    extended_end: datetime.date | None

    def ends(self, extended: bool) -> datetime.date | None:
        """Return the last day of the support asked for; None if unknown."""
        return self.extended_end if extended else self.end


class Releases(_Row):
    """The whole of a ``kubernetes.yaml``. ``extended`` is what a stack file says to ask for longer support."""

    read_on: datetime.date
    sources: list[str] = Field(min_length=1)
    extended: str
    releases: Mapping[str, Release]


@cache
def releases(kind: str) -> Releases | None:
    """Return the table of a kind of place; None for one that makes no clusters."""
    file = Path(__file__).parent / kind / "kubernetes.yaml"
    return Releases.model_validate(read_table(file)) if file.is_file() else None


def judge_support(settings: Any, today: datetime.date) -> Iterator[Problem]:
    """Yield a finding on the version of a cluster that the stack makes, if its support has ended or soon does. A
    version newer than the table passes, and so does the cloud's own choice."""
    table = releases(settings.kind)
    if table is None or settings.cluster.adopt is not None or settings.cluster.version is None:
        return
    minor, extended = numbers(settings.cluster.version)[:2], settings.cluster.extended
    known = {numbers(name): release for name, release in table.releases.items()}
    release = known.get(minor)
    end = release.ends(extended) if release is not None else None
    over, support = end is None or end < today, f"{'extended' if extended else 'standard'} support in this cloud"
    if release is None and minor < min(known):
        message = "has left support in this cloud: it is older than every version that is known here"
    elif end is None or end - today > SOON:
        return
    else:
        message = f"{'left' if over else 'leaves'} {support} on {end}"
    fix = "upgrade, one minor version at a time"
    longer = release.extended_end or datetime.date.max if release is not None and not extended else today
    if longer > today:
        until = f" (until {longer})" if longer != datetime.date.max else ""
        fix += f", or pay for longer support with {table.extended}{until}"
    yield KUBERNETES_UNSUPPORTED.at(
        ("platform", "cluster", "version"),
        message,
        allowed=", ".join(_offered(table, extended, today)) or "a version that has support for longer",
        fix=fix,
        value=settings.cluster.version,
        severity="error" if over else "warning",
    )


def _offered(table: Releases, extended: bool, today: datetime.date) -> Iterator[str]:
    for name, release in table.releases.items():
        end = release.ends(extended)
        if end is None:
            yield name
        elif end - today > SOON:
            yield f"{name} (until {end})"
