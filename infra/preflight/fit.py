"""Which machine a model fits on, and how well: the memory plan over the catalogue. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from components.catalog.gpus import Gpu
from components.catalog.machine import Machine, Price
from infra.preflight import memory
from infra.preflight.memory import GIB, Engine, MemoryPlan
from infra.preflight.model_facts import ModelFacts
from infra.preflight.plan_engine import batched_tokens


@dataclass(frozen=True)
class Card:
    """What a model is asked to fit on: a GPU by itself or in a machine. ``gpus`` is how many there are to use;
    ``price`` is of the whole machine in ``region``."""

    name: str
    product: str
    memory_bytes: int
    gpus: int
    compute_capability: tuple[int, int] | None = None
    machine: Machine | None = None
    price: Price | None = None
    region: str | None = None

    @property
    def usd_per_hour(self) -> float | None:
        return self.price.on_demand if self.price else None


@dataclass(frozen=True)
class Fit:
    """One answer. ``tensor_parallel`` is the split that was planned: the smallest that fits, else the largest that
    divides the model. ``reason`` says in one sentence why it fits or does not."""

    card: Card
    fits: bool
    reason: str
    tensor_parallel: int
    plan: MemoryPlan

    @property
    def sequences(self) -> int:
        """Whole sequences of the asked context at once; of a model without a cache as many as one step takes."""
        return int(min(self.plan.sequences, 10**9))


def starts(facts: ModelFacts, plan: MemoryPlan) -> bool:
    """Whether the engine would start. A model that keeps no cache (an encoder) needs its weights and one step alone."""
    return plan.fits if facts.kv else plan.loads


def card_of(machine: Machine, region: str | None = None, gpus: int | None = None) -> Card:
    """A machine as a card, with ``gpus`` of its GPUs to use (None: all); its price in ``region``, else the lowest
    known where no region is asked for."""
    known = {at: price for at, price in machine.prices.items() if price.on_demand is not None}
    cheapest = min(known, key=lambda r: (known[r].on_demand or 0, r), default=None)
    at = region if region is not None else cheapest
    return Card(
        machine.name,
        machine.gpu,
        int(machine.gpu_memory_gib * GIB),
        min(gpus or machine.gpus, machine.gpus),
        _capability(machine.compute_capability),
        machine,
        known.get(at) if at else None,
        at if at in known else None,
    )


def bare_card(product: str, gpu: Gpu, gpus: int) -> Card:
    """So many of a GPU, in no machine."""
    return Card(product, product, int(gpu.memory_gib * GIB), gpus, _capability(gpu.compute_capability))


def _capability(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor or 0)


def try_card(
    facts: ModelFacts, card: Card, engine: Engine, splits: Iterable[int] | None = None, sequences: int = 1
) -> Fit:
    """``splits`` are the ways to divide the model that may be taken, in order (None: those that divide it, the fewest
    GPUs first); the first that holds ``sequences`` whole contexts is. ``engine.max_batched_tokens`` 0 is the engine's
    default for the card. Raises ``ValueError`` where the weights' size is unknown."""
    batch = engine.max_batched_tokens or batched_tokens(
        card.memory_bytes, card.product, engine.sequences, engine.context
    )
    able = [n for n in memory.TENSOR_PARALLEL if n <= card.gpus and memory.divides(facts, n)]
    tried: list[tuple[int, MemoryPlan]] = []
    for count in list(splits) if splits is not None else able or [1]:
        plan = memory.plan(facts, card.memory_bytes, replace(engine, tensor_parallel=count, max_batched_tokens=batch))
        tried.append((count, plan))
        if starts(facts, plan) and plan.sequences >= sequences:
            break
    chosen, plan = tried[-1]
    fits = starts(facts, plan) and plan.sequences >= sequences
    if facts.context is not None and engine.context > facts.context:
        reason = f"the model was made for {facts.context:,} tokens, {engine.context:,} are asked for"
        return Fit(card, False, reason, chosen, plan)
    return Fit(card, fits, _reason(facts, plan, chosen, engine, sequences), chosen, plan)


def _reason(facts: ModelFacts, plan: MemoryPlan, gpus: int, engine: Engine, sequences: int) -> str:
    on = f"on {gpus} GPU{'s' if gpus > 1 else ''}: {plan.told()}"
    if not plan.loads:
        return f"the weights and what the engine needs are more than the memory {on}"
    if not facts.kv:
        return f"fits {on.partition(';')[0]}; it keeps no KV cache"
    count = int(min(plan.sequences, 10**9))
    if plan.fits and count >= sequences:
        return f"fits {on}, so {count:,} sequence{'s' if count > 1 else ''} of {engine.context:,} tokens"
    if plan.fits:
        return f"{sequences:,} sequences of {engine.context:,} tokens do not fit at once, {count:,} would, {on}"
    if plan.longest_context:
        return f"one sequence of {engine.context:,} tokens does not fit, {plan.longest_context:,} would, {on}"
    return f"no sequence fits {on}"


def ranked(
    facts: ModelFacts,
    machines: Iterable[Machine],
    engine: Engine,
    region: str | None = None,
    sequences: int = 1,
    gpus: int | None = None,
) -> list[Fit]:
    """Every machine on which the model fits, the cheapest first; those without a known price last, the smallest of
    them first. ``region`` leaves out machines known not to be sold there, ``gpus`` those with fewer."""
    there = (
        m
        for m in machines
        if (region is None or not m.regions or region in m.regions) and (gpus is None or m.gpus >= gpus)
    )
    found = (try_card(facts, card_of(machine, region, gpus), engine, sequences=sequences) for machine in there)
    return sorted((each for each in found if each.fits), key=order)


def order(fit: Fit) -> tuple[bool, float, int, str]:
    """By price, then by memory, then by name."""
    card = fit.card
    whole = card.machine.gpus if card.machine else card.gpus
    return card.usd_per_hour is None, card.usd_per_hour or 0, whole * card.memory_bytes, card.name
