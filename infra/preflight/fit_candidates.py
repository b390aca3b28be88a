"""The hardware a person names for ``ebbtide fit``: a GPU, a machine, a cloud, or anything there is. Pure."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

from components.catalog.gpus import gpus, near_gpu
from components.catalog.machine import Machine
from components.catalog.machines import machines
from components.platforms.kinds import KINDS
from infra.config.findings import show
from infra.preflight.fit import Card, bare_card, card_of

COUNTS = (1, 2, 4, 8)
MOST_GPUS = 64


class WrongChoice(ValueError):
    """No such hardware; the text says what is allowed and what may be meant."""


@dataclass(frozen=True)
class Named:
    """What was typed; at most one of ``gpu``, ``machine`` and ``cloud``. ``gpus`` None: as few as will do."""

    gpu: str | None = None
    machine: str | None = None
    cloud: str | None = None
    region: str | None = None
    gpus: int | None = None


def clouds() -> tuple[str, ...]:
    """The places that sell machines."""
    return tuple(kind.name for kind in KINDS.values() if kind.makes_nodes)


def cards(named: Named) -> list[Card]:
    """What is to be tried. Of a GPU by itself: so many cards as asked, or 1, 2, 4 and 8. Raises ``WrongChoice``."""
    given = [f"--{name}" for name in ("gpu", "machine", "cloud") if getattr(named, name) is not None]
    if len(given) > 1:
        raise WrongChoice(f"{' and '.join(given)} name hardware twice; allowed: one of --gpu, --machine, --cloud")
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
        meant = f"; fix: did you mean {near}?" if near else ""
        raise WrongChoice(f"--gpu: {show(name)} is not a GPU of the catalogue; allowed: {', '.join(gpus())}{meant}")
    return [bare_card(product, gpus()[product], n) for n in ((count,) if count else COUNTS)]


def _machine(name: str, count: int | None) -> Machine:
    known = {m.name.lower(): m for place in clouds() for m in machines(place).values()}
    found = known.get(name.strip().lower())
    if found is None:
        near = difflib.get_close_matches(name.strip().lower(), known, n=3, cutoff=0.5)
        meant = f"; fix: did you mean {' or '.join(known[each].name for each in near)}?" if near else ""
        allowed = f"a machine with GPUs of {', '.join(clouds())}"
        raise WrongChoice(f"--machine: {show(name)} is not a machine of the catalogue; allowed: {allowed}{meant}")
    if count is not None and count > found.gpus:
        raise WrongChoice(f"--gpus: {count} is more than {found.name} has; allowed: 1..{found.gpus}")
    return found


def _sold(named: Named) -> list[Machine]:
    if named.cloud is not None and named.cloud not in clouds():
        near = difflib.get_close_matches(named.cloud.lower(), clouds(), n=1, cutoff=0.5)
        meant = f"; fix: did you mean {near[0]}?" if near else ""
        raise WrongChoice(f"--cloud: {show(named.cloud)} is not a cloud; allowed: {', '.join(clouds())}{meant}")
    places = (named.cloud,) if named.cloud else clouds()
    found = [machine for place in places for machine in machines(place).values() if _fits(machine, named)]
    if not found:
        where = f" in {named.region}" if named.region else ""
        most = max((machine.gpus for place in places for machine in machines(place).values()), default=0)
        raise WrongChoice(
            f"no machine of the catalogue has {named.gpus or 1} GPUs{where}; allowed: up to {most} GPUs, and a region "
            f"where machines are sold{_regions(places, named.region)}"
        )
    return found


def _fits(machine: Machine, named: Named) -> bool:
    if named.gpus is not None and machine.gpus < named.gpus:
        return False
    # where nobody looked up the regions, only a price says that it is sold there
    sold = machine.regions or (tuple(machine.prices) if named.cloud is None else ())
    return named.region is None or not sold or named.region in sold


def _regions(places: Iterable[str], region: str | None) -> str:
    known = sorted({r for place in places for m in machines(place).values() for r in (*m.regions, *m.prices)})
    near = difflib.get_close_matches(region or "", known, n=1, cutoff=0.5)
    return f"; fix: did you mean {near[0]}?" if near and near[0] != region else ""


def cheapest_with(product: str, count: int, region: str | None) -> Card | None:
    """The cheapest machine with so many of a GPU, or the smallest where no price is known."""
    named = Named(region=region)
    found = [
        card_of(machine, region)
        for place in clouds()
        for machine in machines(place).values()
        if machine.gpu == product and machine.gpus >= count and _fits(machine, named)
    ]
    return min(found, key=lambda c: (c.usd_per_hour is None, c.usd_per_hour or 0, c.gpus, c.name), default=None)
