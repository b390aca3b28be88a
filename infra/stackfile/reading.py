"""One stack file as far as it can be read, for building, planning, comparing and judging it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from pydantic import ValidationError

from infra.stackfile.cleartext_secrets import Secrets
from infra.stackfile.findings.finding import ConfigError, Finding
from infra.stackfile.findings.waiver import Waiver
from infra.stackfile.schema.stack import StackConfig

_MOST_TRIES = 5
_ENTRIES = ("pools", "models")


@dataclass(frozen=True)
class Loaded:
    """A stack that may be built, and the warnings for its owner."""

    config: StackConfig
    warnings: tuple[Finding, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Reading:
    """The contents of a stack file, and the findings of its own rules.

    ``values`` are the sections as written, keyed without namespace (``models``, ``pools``); empty if nothing could be
    read. ``outside`` is what the file has besides them: Pulumi's and its providers' own. ``config`` is None if some
    value is refused; ``partial`` is the stack without its refused parts, None if its place or environment is refused.
    ``waivers``, ``today`` and ``secrets`` are those it was read with.
    """

    file: str
    values: Mapping[str, Any] = field(default_factory=dict)
    outside: Mapping[str, Any] = field(default_factory=dict)
    config: StackConfig | None = None
    partial: StackConfig | None = None
    findings: tuple[Finding, ...] = ()
    waivers: tuple[Waiver, ...] = field(default=(), repr=False)
    today: date = field(default_factory=date.today)
    secrets: Secrets = field(default_factory=Secrets, repr=False)

    @property
    def stops(self) -> bool:
        """Return True if nothing may be built from it."""
        return self.config is None or any(finding.stops for finding in self.findings)

    @property
    def environment(self) -> str | None:
        """Return the environment as written; None if it is not text."""
        value = self.values.get("environment")
        return value if isinstance(value, str) else None

    def loaded(self) -> Loaded:
        """Return the stack to build. Raises ``ConfigError`` with all findings if any of them stops it."""
        if self.config is None or self.stops:
            raise ConfigError(self.findings)
        return Loaded(self.config, self.findings)


def partial(config: StackConfig | None, sections: Mapping[str, Any]) -> StackConfig | None:
    """Return the stack without the pools, models and sections that are refused, and without models whose pool is
    missing; None if its place or environment is refused. ``sections`` are raw, names included."""
    if config is not None:
        return _with_known_pools(config)
    left = {
        key: dict(value) if key in _ENTRIES and isinstance(value, Mapping) else value for key, value in sections.items()
    }
    for _ in range(_MOST_TRIES):
        try:
            return _with_known_pools(StackConfig.model_validate(left))
        except ValidationError as error:
            if not _drop(left, [detail["loc"] for detail in error.errors(include_url=False)]):
                return None
    return None


def _with_known_pools(config: StackConfig) -> StackConfig:
    models = {name: model for name, model in config.models.items() if model.pool in config.pools}
    return config if len(models) == len(config.models) else config.model_copy(update={"models": models})


def _drop(sections: dict[str, Any], places: Iterable[Sequence[int | str]]) -> bool:
    """Take the refused parts out; return False if nothing can be said without them."""
    for place in places:
        first = str(place[0]) if place else ""
        if first in ("platform", "environment", ""):
            return False
        if first in _ENTRIES and len(place) > 1 and isinstance(sections.get(first), dict):
            sections[first].pop(str(place[1]), None)
        else:
            sections.pop(first, None)
    return True
