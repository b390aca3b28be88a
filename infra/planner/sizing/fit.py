"""Machines a model fits on, and how well: the memory plan over the catalogue. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass, replace

from components.catalog.gpus import Gpu, gpus, near_gpu
from components.catalog.machine import Machine, Price
from components.catalog.machines import machines
from components.platforms.kinds import KINDS
from infra.errors import UsageError
from infra.planner.facts.model_facts import ModelFacts
from infra.planner.sizing import measured_starts, memory
from infra.planner.sizing.host_memory import holds
from infra.planner.sizing.measured_starts import MeasuredStarts
from infra.planner.sizing.memory import GIB, Engine, MemoryPlan
from infra.planner.sizing.planned_pool import batched_tokens
from infra.stackfile.findings.formatting import show


@dataclass(frozen=True, kw_only=True)
class Card:
    """Hardware a model is to fit on: a GPU by itself or in a machine. ``gpus`` is how many there are to use;
    ``price`` is for the whole machine in ``region``."""

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


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Result for one card. ``tensor_parallel`` is the planned split: the smallest that fits, else the largest that
    divides the model. ``reason`` says in one sentence why it fits or does not."""

    card: Card
    fits: bool
    reason: str
    tensor_parallel: int
    plan: MemoryPlan

    @property
    def sequences(self) -> int:
        """Return how many whole sequences of the asked context fit at once; 10**9 for a model without a cache."""
        return int(min(self.plan.sequences, 10**9))


def starts(facts: ModelFacts, plan: MemoryPlan) -> bool:
    """Return True if the engine would start. Without a cache (an encoder) it needs only the weights and one step."""
    return (plan.fits if facts.kv else plan.loads) and not plan.overbooked


def card_of(machine: Machine, region: str | None = None, gpus: int | None = None) -> Card:
    """Return a machine as a card, with ``gpus`` of its GPUs to use (None: all); its price is that in ``region``, or the
    lowest known where no region is asked for."""
    known = {at: price for at, price in machine.prices.items() if price.on_demand is not None}
    cheapest = min(known, key=lambda r: (known[r].on_demand or 0, r), default=None)
    at = region if region is not None else cheapest
    return Card(
        name=machine.name,
        product=machine.gpu,
        memory_bytes=int(machine.cuda_memory_gib * GIB),
        gpus=min(gpus or machine.gpus, machine.gpus),
        compute_capability=_capability(machine.compute_capability),
        machine=machine,
        price=known.get(at) if at else None,
        region=at if at in known else None,
    )


def bare_card(product: str, gpu: Gpu, gpus: int) -> Card:
    """Return ``gpus`` cards of one GPU, in no machine."""
    return Card(
        name=product,
        product=product,
        memory_bytes=int(gpu.usable_gib * GIB),
        gpus=gpus,
        compute_capability=_capability(gpu.compute_capability),
    )


def _capability(text: str) -> tuple[int, int]:
    major, _, minor = text.partition(".")
    return int(major), int(minor or 0)


def try_card(
    facts: ModelFacts,
    card: Card,
    engine: Engine,
    splits: Iterable[int] | None = None,
    sequences: int = 1,
    measured: MeasuredStarts = measured_starts.NONE,
) -> Fit:
    """Plan the model on a card. ``splits`` are the GPU counts it may be divided over, in order (None: those that divide
    it, the fewest GPUs first); the first that holds ``sequences`` whole contexts is taken, else the last tried.
    ``engine.max_batched_tokens`` 0 is the engine's default for the card. Raises ``ValueError`` where the weights' size
    is unknown."""
    batch = engine.max_batched_tokens or batched_tokens(
        card.memory_bytes, card.product, engine.sequences, engine.context
    )
    able = [n for n in memory.TENSOR_PARALLEL if n <= card.gpus and memory.divides(facts, n)]
    tried: list[tuple[int, MemoryPlan]] = []
    for count in list(splits) if splits is not None else able or [1]:
        split = replace(engine, tensor_parallel=count, max_batched_tokens=batch)
        plan = measured_starts.plan(facts, card.memory_bytes, split, measured.find(facts.id, card.product))
        tried.append((count, plan))
        if starts(facts, plan) and plan.sequences >= sequences:
            break
    chosen, plan = tried[-1]
    fits = starts(facts, plan) and plan.sequences >= sequences
    if facts.context is not None and engine.context > facts.context:
        reason = f"the model was made for {facts.context:,} tokens, {engine.context:,} are asked for"
        return Fit(card=card, fits=False, reason=reason, tensor_parallel=chosen, plan=plan)
    return Fit(
        card=card, fits=fits, reason=_reason(facts, plan, chosen, engine, sequences), tensor_parallel=chosen, plan=plan
    )


def _reason(facts: ModelFacts, plan: MemoryPlan, gpus: int, engine: Engine, sequences: int) -> str:
    on = f"on {gpus} GPU{'s' if gpus > 1 else ''}: {plan.description()}"
    if not plan.loads:
        return f"the weights and what the engine needs are more than the memory {on}"
    if not facts.kv:
        return f"fits {on.partition(';')[0]}; it keeps no KV cache"
    count = int(min(plan.sequences, 10**9))
    if plan.fits and plan.overbooked:
        return (
            f"{plan.asked_sequences:,} sequences are more than the {plan.state_blocks:,} whose state fits: the engine "
            f"does not start, {on}"
        )
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
    measured: MeasuredStarts = measured_starts.NONE,
) -> list[Fit]:
    """Return every machine on which the model fits and loads (where it loads on none: on which it fits), the cheapest
    first; those without a known price last, the smallest
    of them first. ``region`` leaves out machines known not to be sold there, ``gpus`` those with fewer."""
    there = (
        m
        for m in machines
        if (region is None or not m.regions or region in m.regions) and (gpus is None or m.gpus >= gpus)
    )
    cards = (card_of(machine, region, gpus) for machine in there)
    tried = (try_card(facts, card, engine, sequences=sequences, measured=measured) for card in cards)
    fitting = [each for each in tried if each.fits]
    loading = [each for each in fitting if each.card.machine and holds(each.card.machine, facts, each.tensor_parallel)]
    return sorted(loading or fitting, key=order)


def order(fit: Fit) -> tuple[bool, float, int, str]:
    """Return the sort key: by price (unknown last), then by memory, then by name."""
    card = fit.card
    whole = card.machine.gpus if card.machine else card.gpus
    return card.usd_per_hour is None, card.usd_per_hour or 0, whole * card.memory_bytes, card.name


# The hardware a person names for ``ebbtide fit``: a GPU, a machine, a cloud, or anything there is. Pure.

COUNTS = (1, 2, 4, 8)
MOST_GPUS = 64


class WrongChoice(UsageError):
    """A choice of hardware that does not exist; the text says what is allowed and what may be meant."""


@dataclass(frozen=True, kw_only=True)
class Named:
    """Hardware as typed; at most one of ``gpu``, ``machine`` and ``cloud``. ``gpus`` None: as few as will do."""

    gpu: str | None = None
    machine: str | None = None
    cloud: str | None = None
    region: str | None = None
    gpus: int | None = None


def clouds() -> tuple[str, ...]:
    """Return the places that sell machines."""
    return tuple(kind.name for kind in KINDS.values() if kind.makes_nodes)


def cards(named: Named) -> list[Card]:
    """Return the cards to try: of a bare GPU as many as asked for, or 1, 2, 4 and 8. Raises ``WrongChoice``."""
    flags = [f"--{name}" for name in ("gpu", "machine", "cloud") if getattr(named, name) is not None]
    if len(flags) > 1:
        raise WrongChoice(f"{' and '.join(flags)} name hardware twice; allowed: one of --gpu, --machine, --cloud")
    if named.gpu is not None:
        return _of_gpu(named.gpu, named.gpus)
    if named.machine is not None:
        return [card_of(_machine(named.machine, named.gpus), named.region, named.gpus)]
    return [card_of(machine, named.region, named.gpus) for machine in _sold(named)]


def _of_gpu(name: str, count: int | None) -> list[Card]:
    by_lower = {known.lower(): known for known in gpus()}
    product = by_lower.get(name.strip().lower())
    if product is None:
        near = near_gpu(name)
        suggestion = f"; fix: did you mean {near}?" if near else ""
        raise WrongChoice(
            f"--gpu: {show(name)} is not a GPU of the catalogue; allowed: {', '.join(gpus())}{suggestion}"
        )
    return [bare_card(product, gpus()[product], n) for n in ((count,) if count else COUNTS)]


def _machine(name: str, count: int | None) -> Machine:
    known = {m.name.lower(): m for place in clouds() for m in machines(place).values()}
    machine = known.get(name.strip().lower())
    if machine is None:
        near = difflib.get_close_matches(name.strip().lower(), known, n=3, cutoff=0.5)
        suggestion = f"; fix: did you mean {' or '.join(known[each].name for each in near)}?" if near else ""
        allowed = f"a machine with GPUs of {', '.join(clouds())}"
        raise WrongChoice(f"--machine: {show(name)} is not a machine of the catalogue; allowed: {allowed}{suggestion}")
    if count is not None and count > machine.gpus:
        raise WrongChoice(f"--gpus: {count} is more than {machine.name} has; allowed: 1..{machine.gpus}")
    return machine


def _sold(named: Named) -> list[Machine]:
    if named.cloud is not None and named.cloud not in clouds():
        near = difflib.get_close_matches(named.cloud.lower(), clouds(), n=1, cutoff=0.5)
        suggestion = f"; fix: did you mean {near[0]}?" if near else ""
        raise WrongChoice(f"--cloud: {show(named.cloud)} is not a cloud; allowed: {', '.join(clouds())}{suggestion}")
    places = (named.cloud,) if named.cloud else clouds()
    sold = [machine for place in places for machine in machines(place).values() if _fits(machine, named)]
    if not sold:
        where = f" in {named.region}" if named.region else ""
        most = max((machine.gpus for place in places for machine in machines(place).values()), default=0)
        raise WrongChoice(
            f"no machine of the catalogue has {named.gpus or 1} GPUs{where}; allowed: up to {most} GPUs, and a region "
            f"where machines are sold{_regions(places, named.region)}"
        )
    return sold


def _fits(machine: Machine, named: Named) -> bool:
    if named.gpus is not None and machine.gpus < named.gpus:
        return False
    # where the regions were not looked up, only a price shows that it is sold there
    sold = machine.regions or (tuple(machine.prices) if named.cloud is None else ())
    return named.region is None or not sold or named.region in sold


def _regions(places: Iterable[str], region: str | None) -> str:
    known = sorted({r for place in places for m in machines(place).values() for r in (*m.regions, *m.prices)})
    near = difflib.get_close_matches(region or "", known, n=1, cutoff=0.5)
    return f"; fix: did you mean {near[0]}?" if near and near[0] != region else ""


def cheapest_with(product: str, count: int, region: str | None, facts: ModelFacts | None = None) -> Card | None:
    """Return the cheapest machine with ``count`` or more of a GPU, or the smallest where no price is known; one whose
    main memory holds what loading ``facts`` takes goes first."""
    named = Named(region=region)
    candidates = [
        card_of(machine, region)
        for place in clouds()
        for machine in machines(place).values()
        if machine.gpu == product and not machine.part and machine.gpus >= count and _fits(machine, named)
    ]
    loading = [
        card for card in candidates if facts is None or card.machine is None or holds(card.machine, facts, count)
    ]
    return min(
        loading or candidates, key=lambda c: (c.usd_per_hour is None, c.usd_per_hour or 0, c.gpus, c.name), default=None
    )
