"""The plan of one model on its pool."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from infra.planner.cold_path import ColdPath
from infra.planner.facts.adapters import AdapterFacts
from infra.planner.facts.model_facts import ModelFacts
from infra.planner.sizing import measured_starts
from infra.planner.sizing.measured_starts import MeasuredStarts
from infra.planner.sizing.memory import Engine, MemoryPlan
from infra.planner.sizing.planned_pool import PoolPlan
from infra.stackfile.schema.model import ModelConfig
from infra.stackfile.timeouts import Hop


@dataclass(frozen=True, kw_only=True)
class ModelPlan:
    """Plan of one model. ``fetched`` are the bytes of weights that a machine fetches; the engine may make them smaller.
    ``memory`` is for one GPU, None where it cannot be planned: ``why_not`` says why. ``silence`` is how long a request
    may go without a byte, in seconds; ``shortest`` is the hop that gives up first on a held request. ``fallbacks`` is
    the same model planned on each of its fallback pools; ``starts`` are the measured ones that say something of this
    model as it is to be started; ``adapters`` the facts of its LoRA adapters by name, None where none are known."""

    config: ModelConfig
    pool: PoolPlan
    facts: ModelFacts | None
    fetched: int | None
    engine: Engine | None
    memory: MemoryPlan | None
    why_not: str | None
    unfollowed: tuple[str, ...]
    cold: ColdPath
    hops: tuple[Hop, ...]
    shortest: Hop | None
    silence: int
    fallbacks: tuple[ModelPlan, ...] = ()
    starts: MeasuredStarts = measured_starts.NONE
    adapters: Mapping[str, AdapterFacts | None] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.config.name
