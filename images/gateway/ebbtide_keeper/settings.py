"""The mounted ``keeper.yaml``, typed. Unknown keys are refused."""

from __future__ import annotations

from pathlib import Path

import yaml
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Model(_Frozen):
    """One model. A load may take ``hold_seconds``, the longest that a request waits for it. ``growable``: an autoscaler
    may bring its pool another node, which may take the whole ``cold_start_seconds``. ``counted``: the number of
    requests in its engines' own queues is served. ``turn_seconds``: its engines share their cards by turns, and give
    way after this time if others wait; they sleep after ``sleep_seconds`` without a request, None: only then.
    ``scales_in``: it may have several replicas, and the idlest is removed first. ``machines``: pods of one replica;
    above one they are a group of a LeaderWorkerSet.
    """

    name: str
    hold_seconds: float = Field(gt=0)
    cold_start_seconds: float = Field(gt=0)
    growable: bool = False
    counted: bool = False
    turn_seconds: float | None = Field(default=None, gt=0)
    sleep_seconds: float | None = Field(default=None, gt=0)
    scales_in: bool = False
    machines: int = Field(default=1, ge=1)


class Settings(_Frozen):
    """All settings. The models are in ``namespace``, the gateway in ``gateway_namespace``. ``api_server`` None: the
    pod's own cluster. A model counts as used for ``recent_seconds`` after its last request. ``remembers_wakes``: some
    group has a daily cap on its wakes.
    """

    models: tuple[Model, ...] = ()
    namespace: str = "ebbtide-models"
    gateway_namespace: str = "ebbtide"
    api_server: str | None = None
    recent_seconds: float = Field(default=10.0, gt=0)
    remembers_wakes: bool = False


def load(path: Path) -> Settings:
    """Read and check the file; raises ``OSError``, ``yaml.YAMLError`` or ``pydantic.ValidationError``."""
    return Settings.model_validate(yaml.safe_load(path.read_text()))
