"""A stack file that may be partly wrong: the fields that could be read, and those that could not.

Rules between fields run on a draft, so that one wrong field hides only the rules that need it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from functools import cache
from typing import Any, Generic, TypeVar, cast

from pydantic import TypeAdapter, ValidationError, create_model

from components.platforms.kinds import kind_of
from components.typed.fields import StackModel
from components.typed.refusal import Path
from infra.stackfile.schema.model import ModelConfig
from infra.stackfile.schema.pool import PoolConfig
from infra.stackfile.schema.stack import (
    DatabaseConfig,
    GpuLayerConfig,
    GroupConfig,
    GuardConfig,
    ImageConfig,
    KeyConfig,
    PlatformConfig,
)

S = TypeVar("S", bound=StackModel)
# Every key of it may be left out and then takes the place's default, so the others are judged beside a wrong one.
_OPEN = "disk"


@dataclass(frozen=True)
class Part(Generic[S]):
    """One shape, and the values it was read from.

    Fields named in ``broken`` hold None whatever their type says: check ``sound`` first.
    """

    value: S
    raw: Mapping[str, Any]
    broken: frozenset[str] = frozenset()

    def sound(self, *fields: str) -> bool:
        """Return True if all these fields could be read."""
        return self.broken.isdisjoint(fields)


@dataclass(frozen=True)
class Draft:
    """All parts that rules look at. A part that is no mapping is absent, but its name is listed. ``secrets`` are the
    paths where a secret was found, each with a finding of its own; ``today`` is the day of the judgement."""

    environment: str | None = None
    place: PlatformDraft | None = None
    gpu_layer: Part[GpuLayerConfig] | None = None
    image: Part[ImageConfig] | None = None
    idle_scaling_install: str | None = None
    pools: Mapping[str, Part[PoolConfig]] = field(default_factory=dict)
    models: Mapping[str, Part[ModelConfig]] = field(default_factory=dict)
    groups: Mapping[str, Part[GroupConfig]] = field(default_factory=dict)
    keys: Mapping[str, Part[KeyConfig]] = field(default_factory=dict)
    guard: Part[GuardConfig] | None = None
    database: Part[DatabaseConfig] | None = None
    pool_names: tuple[str, ...] = ()
    model_names: tuple[str, ...] = ()
    group_names: tuple[str, ...] = ()
    secrets: frozenset[Path] = frozenset()
    today: date = date.min

    @property
    def platform(self) -> PlatformConfig | None:
        """Return the place's settings, as far as they could be read."""
        return self.place.value if self.place is not None else None

    @property
    def gpu_layer_install(self) -> str | None:
        """Return who installs the GPU operator; None if unknown."""
        if self.gpu_layer is None or not self.gpu_layer.sound("install"):
            return None
        install = self.gpu_layer.value.install
        return install or (kind_of(self.platform).gpu_layer if self.platform is not None else None)


def draft(raw: Mapping[str, Any], secrets: Iterable[Path], today: date) -> Draft:
    """Read what can be read. ``raw`` already contains each model's and pool's own name."""
    gateway = _mapping(raw.get("gateway"))
    return Draft(
        environment=_text(raw.get("environment")),
        place=platform_draft(raw.get("platform")),
        gpu_layer=_part(GpuLayerConfig, raw.get("gpuLayer", {})),
        image=_part(ImageConfig, raw.get("image", {})),
        idle_scaling_install=_mapping(raw.get("idleScaling")).get("install"),
        pools=_parts(PoolConfig, raw.get("pools")),
        models=_parts(ModelConfig, raw.get("models")),
        groups=_parts(GroupConfig, gateway.get("groups")),
        keys=_parts(KeyConfig, gateway.get("keys")),
        guard=_part(GuardConfig, raw.get("guard", {})),
        database=_part(DatabaseConfig, raw.get("database", {})),
        pool_names=tuple(_mapping(raw.get("pools"))),
        model_names=tuple(_mapping(raw.get("models"))),
        group_names=tuple(_mapping(gateway.get("groups"))),
        secrets=frozenset(secrets),
        today=today,
    )


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) else None


def _parts(cls: type[S], raw: Any) -> dict[str, Part[S]]:
    read = {name: _part(cls, value) for name, value in _mapping(raw).items()}
    return {name: part for name, part in read.items() if part is not None}


def _part(cls: type[S], raw: Any) -> Part[S] | None:
    if not isinstance(raw, Mapping):
        return None
    try:
        return Part(cls.model_validate(raw), raw)
    except ValidationError as error:
        open_ones = [tuple(map(str, d["loc"])) for d in error.errors(include_url=False) if d["loc"][:1] == (_OPEN,)]
        inside = {loc[1] for loc in open_ones if len(loc) > 1}
        if inside and isinstance(raw.get(_OPEN), Mapping) and not inside.isdisjoint(raw[_OPEN]):
            remaining = {key: value for key, value in raw[_OPEN].items() if key not in inside}
            beside = _part(cls, {**raw, _OPEN: remaining})
            return replace(beside, raw=raw) if beside is not None else None
        locations = [detail["loc"][0] for detail in error.errors(include_url=False) if detail["loc"]]
    broken = frozenset(name for name, info in cls.model_fields.items() if {name, info.alias} & set(locations))
    unread = set(locations) | {cls.model_fields[name].alias for name in broken}
    rest = {key: value for key, value in raw.items() if key not in unread}
    return Part(_without(cls, broken).model_validate(rest), raw, broken)


@cache
def _without(cls: type[S], broken: frozenset[str]) -> type[S]:
    """Return the same shape, with the broken fields None."""
    nothing: dict[str, Any] = dict.fromkeys(broken, (Any, None))
    return cast("type[S]", create_model(f"{cls.__name__}Draft", __base__=cls, **nothing))


# A place's settings without the wrong ones, so that rules between fields still run.
#
# A value that cannot be read is left out and takes its default. Rules must therefore not judge a section from which
# something was left out: what they miss there is in the file.

_PLATFORM: TypeAdapter[PlatformConfig] = TypeAdapter(PlatformConfig)
_UNKNOWN_KEY, _MISSING = "extra_forbidden", "missing"


@dataclass(frozen=True)
class PlatformDraft:
    """The platform's readable settings. ``unread`` are its keys under which a known setting was left out; unknown keys
    do not count, because nothing depends on them."""

    value: PlatformConfig
    unread: frozenset[str] = frozenset()

    def judged(self, path: Path) -> bool:
        """Return True if a problem that the place's rules find at ``path`` is real, not caused by a value left out."""
        if not self.unread:
            return True
        return len(path) > 1 and path[0] == "platform" and path[1] not in self.unread


def platform_draft(raw: Any) -> PlatformDraft | None:
    """Read what can be read; None if a setting the place cannot do without, like its kind, is unreadable."""
    unread: set[str] = set()
    while True:
        try:
            return PlatformDraft(_PLATFORM.validate_python(raw), frozenset(unread))
        except ValidationError as error:
            rest = raw
            for detail in error.errors(include_url=False):
                # the first step is the kind, by which pydantic chose the settings class
                path = tuple(detail["loc"][1:])
                if detail["type"] != _UNKNOWN_KEY and path:
                    unread.add(str(path[0]))
                rest = _without_value(rest, path[:-1] if detail["type"] == _MISSING else path)
            if rest == raw:
                return None
            raw = rest


def _without_value(raw: Any, path: Path) -> Any:
    """Return ``raw`` without the value at ``path``, or without the whole list that contains it: a list with one element
    less means something else. Return it unchanged if nothing is there."""
    if not path or not isinstance(raw, Mapping) or path[0] not in raw:
        return raw
    key, rest = path[0], path[1:]
    if rest and isinstance(raw[key], Mapping):
        return {**raw, key: _without_value(raw[key], rest)}
    return {name: value for name, value in raw.items() if name != key}
