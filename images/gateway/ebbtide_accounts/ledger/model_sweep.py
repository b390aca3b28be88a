"""Sweep over a model's time: at each moment, who pays for its pods.

Between two events nothing changes, so one sweep in order of time is enough. What requests in flight share is not added
up for each of them at each event: a clock runs as much slower as they are more, and each pays by that clock.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from .amounts import Whole
from .node_shares import Stretch
from .records import DAY, Kind, Pod, Request, WarmWindow

Payer = tuple[str | None, str | None]
"""Group and key; the stack itself has neither."""
STACK: Payer = (None, None)


@dataclass
class Causes:
    """Payers that had caused a model's pods when each of them began and ended, by the pods' uids."""

    at_start: dict[str, Payer] = field(default_factory=dict)
    at_end: dict[str, Payer] = field(default_factory=dict)


class _What(IntEnum):
    """What can happen at one moment, in the order in which it counts: what ends comes first."""

    REQUEST_ENDED = 0
    POD_ENDED = 1
    WINDOW_ENDED = 2
    WOKE = 3
    POD_BEGAN = 4
    READY = 5
    WINDOW_BEGAN = 6
    REQUEST_BEGAN = 7
    STRETCH_BEGAN = 8


_Event = tuple[_What, Any]


@dataclass
class _Plan:
    """Rates that hold for a while, by kind: of those in flight together, of the cause, and of the stack itself."""

    shared: defaultdict[Kind, Whole] = field(default_factory=lambda: defaultdict(Whole))
    cause: defaultdict[Kind, Whole] = field(default_factory=lambda: defaultdict(Whole))
    stack: defaultdict[Kind, Whole] = field(default_factory=lambda: defaultdict(Whole))


class ModelSweep:
    """One model from ``since`` to ``until``. ``denominator``: of the rates; ``scale`` is that of ``totals``."""

    def __init__(self, denominator: int, since: int, until: int) -> None:
        self.totals: defaultdict[tuple[Payer, int, Kind], list[int]] = defaultdict(lambda: [0, 0, 0])
        self.causes = Causes()
        self.scale = denominator
        self._denominator, self._since, self._until = denominator, since, until
        self._together = 1
        self._now = 0
        self._cause = STACK
        self._pods: dict[str, Pod] = {}
        self._ready: set[str] = set()
        self._stretches: dict[str, tuple[Whole, Whole]] = {}
        self._windows: list[WarmWindow] = []
        self._clock = 0
        self._in_flight: dict[str, tuple[Request, int]] = {}
        self._plan = _Plan()
        self._plans: dict[tuple[bool, bool], _Plan] = {}

    def run(
        self,
        pods: Iterable[Pod],
        stretches: Iterable[Stretch],
        requests: Iterable[Request],
        windows: Iterable[WarmWindow],
    ) -> None:
        """Sweep over everything that happened to the model."""
        events = _events(pods, stretches, requests, windows)
        self._together = math.lcm(*_numbers_in_flight(events))
        self.scale = self._denominator * self._together
        midnights = range(-(-self._since // DAY) * DAY, self._until, DAY)
        moments = sorted({*events, self._since, self._until, *midnights})
        ends = {self._since, self._until, *midnights}
        for moment, following in zip(moments, [*moments[1:], None], strict=True):
            if moment in ends:
                self._settle_all()
            self._now = moment
            for what, record in events.get(moment, ()):
                self._apply(what, record)
            if following is not None and self._since <= moment < self._until:
                self._pass(following - moment)

    def _apply(self, what: _What, record: Any) -> None:
        if what is _What.REQUEST_BEGAN:
            self._in_flight[record.id] = record, self._clock
        elif what is _What.REQUEST_ENDED:
            self._end(record)
        elif what is _What.WOKE:
            if not self._ready:
                self._cause = (record.group, record.key)
        else:
            self._plans.clear()
            self._change(what, record)

    def _change(self, what: _What, record: Any) -> None:
        """Take what changes the pods, or which of them are kept warm."""
        if what is _What.POD_BEGAN:
            self.causes.at_start[record.uid] = self._cause
            self._pods[record.uid] = record
        elif what is _What.READY:
            self._ready.add(record.uid)
        elif what is _What.POD_ENDED:
            self.causes.at_end[record.uid] = self._cause
            del self._pods[record.uid], self._stretches[record.uid]
            self._ready.discard(record.uid)
            if not self._pods:
                self._cause = STACK
        elif what is _What.WINDOW_BEGAN:
            self._windows.append(record)
        elif what is _What.WINDOW_ENDED:
            self._windows.remove(record)
            self._cause = STACK
        elif what is _What.STRETCH_BEGAN:
            rates = record.held.whole(self._denominator), record.beside.whole(self._denominator)
            self._stretches[record.pod.uid] = rates

    def _end(self, request: Request) -> None:
        entry = self._in_flight.pop(request.id, None)
        if entry is not None:
            self._settle(request, entry[1])
        if self._pods:
            self._cause = (request.group, request.key)

    def _settle_all(self) -> None:
        for identity, (request, since) in self._in_flight.items():
            self._settle(request, since)
            self._in_flight[identity] = request, self._clock

    def _settle(self, request: Request, since: int) -> None:
        """Charge a request by the clock: all of that time was of one plan and of one day."""
        self._charge((request.group, request.key), self._plan.shared, self._clock - since)

    def _charge(self, payer: Payer, rates: Mapping[Kind, Whole], times: int) -> None:
        if times:
            for kind, amounts in rates.items():
                total = self.totals[payer, self._now // DAY, kind]
                for index, amount in enumerate(amounts):
                    total[index] += amount * times

    def _pass(self, span: int) -> None:
        """Charge the time until the next event."""
        if not self._pods:
            return
        depends_on = bool(self._in_flight), self._cause == STACK
        if depends_on not in self._plans:
            self._plans[depends_on] = self._decide()
        if self._plan is not self._plans[depends_on]:
            self._settle_all()
            self._plan = self._plans[depends_on]
        if self._in_flight:
            self._clock += span * (self._together // len(self._in_flight))
        self._charge(self._cause, self._plan.cause, span * self._together)
        self._charge(STACK, self._plan.stack, span * self._together)

    def _decide(self) -> _Plan:
        """Return who pays for each pod as things are now."""
        plan = _Plan()
        kept = max((window.replicas for window in self._windows), default=0)
        by_age = sorted(self._pods.values(), key=lambda pod: (pod.start, pod.uid))
        for number, pod in enumerate(by_age):
            kind: Kind
            if self._ready and self._in_flight:
                kind, payers = "serving" if pod.uid in self._ready else "wake", plan.shared
            elif number < kept:
                kind, payers = "keep_warm", plan.stack
            elif self._ready:
                kind, payers = "idle", plan.cause
            else:
                # nobody woke a pod that comes back for requests which its engine has lost
                is_for_all = self._cause == STACK and self._in_flight
                kind, payers = "wake", plan.shared if is_for_all else plan.cause
            held, beside = self._stretches[pod.uid]
            payers[kind] = payers[kind].plus(held)
            if any(beside):
                payers["node"] = payers["node"].plus(beside)
        return plan


def _events(
    pods: Iterable[Pod], stretches: Iterable[Stretch], requests: Iterable[Request], windows: Iterable[WarmWindow]
) -> dict[int, list[_Event]]:
    """Return what happens, by moment. The order in each is the records' own, whatever order they came in."""
    at: defaultdict[int, list[_Event]] = defaultdict(list)
    for pod in sorted(pods, key=lambda each: (each.start, each.uid)):
        at[pod.start].append((_What.POD_BEGAN, pod))
        at[pod.end].append((_What.POD_ENDED, pod))
        if pod.ready is not None and pod.ready < pod.end:
            at[max(pod.ready, pod.start)].append((_What.READY, pod))
    for stretch in stretches:
        at[stretch.start].append((_What.STRETCH_BEGAN, stretch))
    for request in sorted(requests, key=lambda each: (each.start, each.id)):
        if request.woke:
            at[request.start].append((_What.WOKE, request))
        if request.served:
            # without an end, or with one before its start as of a clock that was set back, it took no time
            end = request.start if request.end is None else max(request.end, request.start)
            at[end].append((_What.REQUEST_ENDED, request))
            if end > request.start:
                at[request.start].append((_What.REQUEST_BEGAN, request))
    for window in sorted(windows, key=lambda each: (each.start, each.end, each.replicas)):
        if window.end > window.start:
            at[window.start].append((_What.WINDOW_BEGAN, window))
            at[window.end].append((_What.WINDOW_ENDED, window))
    for events in at.values():
        events.sort(key=lambda event: event[0])
    return dict(at)


def _numbers_in_flight(events: Mapping[int, Sequence[_Event]]) -> set[int]:
    """Return how many requests are in flight at any time: shares are parts of these."""
    numbers, going = {1}, set[str]()
    for moment in sorted(events):
        for what, record in events[moment]:
            if what is _What.REQUEST_BEGAN:
                going.add(record.id)
            elif what is _What.REQUEST_ENDED:
                going.discard(record.id)
        numbers.add(max(1, len(going)))
    return numbers
