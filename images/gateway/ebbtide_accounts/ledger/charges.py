"""Charges of a period: all that its nodes cost, each part to somebody. Their sum is the nodes' hours times their price,
exactly.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import TypeVar

from .model_sweep import STACK, Causes, ModelSweep, Payer
from .node_shares import Gap, Stretch, placed, shares
from .records import DAY, SECOND, Charge, Kind, Node, Pod, Request, WarmWindow

T = TypeVar("T", Request, WarmWindow)
_Entry = tuple[Payer, str | None, int, Kind]


def charges(
    nodes: Iterable[Node],
    pods: Iterable[Pod],
    requests: Iterable[Request],
    windows: Iterable[WarmWindow],
    since: int,
    until: int,
) -> list[Charge]:
    """Return what every group, key, model, day and kind costs from ``since`` to ``until``. Records of before say who
    caused what is charged: the same records must be given for both halves of a period that is split.
    """
    lives = placed(nodes, pods)
    stretches: defaultdict[str, list[Stretch]] = defaultdict(list)
    gaps: list[Gap] = []
    for node, theirs in lives:
        for share in shares(node, theirs):
            if isinstance(share, Stretch):
                stretches[share.pod.model].append(share)
            else:
                gaps.append(share)
    held: defaultdict[str, list[Pod]] = defaultdict(list)
    for _, theirs in lives:
        for pod in theirs:
            held[pod.model].append(pod)
    asked, warm = _by_model(requests), _by_model(windows)
    totals: defaultdict[_Entry, list[Fraction]] = defaultdict(lambda: [Fraction(0)] * 3)
    causes: dict[str, Causes] = {}
    for model, parts in stretches.items():
        rates = [rate for each in parts for rate in (each.held, each.beside)]
        sweep = ModelSweep(math.lcm(*(number for rate in rates for number in rate.denominators())), since, until)
        sweep.run(held[model], parts, asked.get(model, ()), warm.get(model, ()))
        causes[model] = sweep.causes
        for (payer, day, kind), amount in sweep.totals.items():
            _add(totals, (payer, model, day, kind), amount, sweep.scale)
    for gap in gaps:
        payer, caused_by = _payer_of(gap, causes)
        denominator = math.lcm(*gap.all_of_it.denominators())
        whole = gap.all_of_it.whole(denominator)
        for day, span in _days(max(gap.start, since), min(gap.end, until)):
            _add(totals, (payer, caused_by, day, "node"), [each * span for each in whole], denominator)
    return sorted(_charges(totals), key=_order)


def _by_model(records: Iterable[T]) -> dict[str, list[T]]:
    grouped: defaultdict[str, list[T]] = defaultdict(list)
    for record in records:
        grouped[record.model].append(record)
    return dict(grouped)


def _payer_of(gap: Gap, causes: dict[str, Causes]) -> tuple[Payer, str | None]:
    """Return who pays for a node that nobody uses, and for which model: whoever caused the pod that it was kept or made
    for.
    """
    if gap.after is not None:
        return causes[gap.after.model].at_end[gap.after.uid], gap.after.model
    if gap.before is not None:
        return causes[gap.before.model].at_start[gap.before.uid], gap.before.model
    return STACK, None


def _days(start: int, end: int) -> Iterator[tuple[int, int]]:
    """Yield the days of a time, with how much of it is in each."""
    while start < end:
        midnight = (start // DAY + 1) * DAY
        yield start // DAY, min(midnight, end) - start
        start = midnight


def _add(totals: defaultdict[_Entry, list[Fraction]], entry: _Entry, amount: Iterable[int], denominator: int) -> None:
    totals[entry] = [before + Fraction(more, denominator) for before, more in zip(totals[entry], amount, strict=True)]


def _charges(totals: dict[_Entry, list[Fraction]]) -> Iterator[Charge]:
    for ((group, key), model, day, kind), (dollars, gpus, unpriced) in totals.items():
        if dollars or gpus:
            yield Charge(group, key, model, day, kind, gpus / SECOND, dollars, unpriced / SECOND)


def _order(charge: Charge) -> tuple[int, str, str, str, str]:
    return charge.day, charge.group or "", charge.key or "", charge.model or "", charge.kind
