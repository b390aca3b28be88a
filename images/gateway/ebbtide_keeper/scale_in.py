"""Choice of the replica to remove when there is one too many: the one with the fewest requests, the least to finish.

Kubernetes removes a ReplicaSet's pods by ``controller.kubernetes.io/pod-deletion-cost``, the lowest first, and counts
one without it as 0. So one pod at a time carries a cost below that. Kubernetes asks not to write it with every change
of a metric: it moves on only when another replica has less than half of the requests.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from ebbtide_kube.api import model_of

from .in_flight import ENGINE_PORT, Load, Unknown, address
from .model_state import Object, is_ready

COST, FIRST = "controller.kubernetes.io/pod-deletion-cost", "-1"
_PAUSE_SECONDS = 2.0
_REST_SECONDS = 30.0  # after a write that was refused

Annotate = Callable[[str, Mapping[str, str | None]], Awaitable[bool]]


@dataclass(frozen=True)
class Replica:
    """Replica of a model. ``first``: it is the next to be removed."""

    requests: float
    first: bool


def moves(replicas: Mapping[str, Replica]) -> dict[str, str | None]:
    """Return the cost of each pod whose cost is to change; None removes it. The new mark comes first, so that there is
    always one.
    """
    if len(replicas) < 2:
        return {}

    def busy(name: str) -> tuple[float, str]:
        return replicas[name].requests, name

    idlest = min(replicas, key=busy)
    marked = [name for name, each in replicas.items() if each.first]
    stays = min(marked, key=busy, default=idlest)
    first = idlest if replicas[stays].requests > 2 * replicas[idlest].requests else stays
    added = {} if first in marked else {first: FIRST}
    return {**added, **{name: None for name in marked if name != first}}


class ScaleIn:
    """Order of scale-in for ``models``. ``pods`` returns the models' pods, or None while they are unknown; ``load``
    what all of the gateway has in each replica; ``annotate`` writes to a pod.
    """

    def __init__(
        self,
        models: Collection[str],
        pods: Callable[[], Mapping[str, Object] | None],
        load: Callable[[], Awaitable[Load]],
        annotate: Annotate,
    ) -> None:
        self._models = models
        self._pods = pods
        self._load = load
        self._annotate = annotate

    async def run(self) -> None:
        """Run until cancelled; return at once where no model has several replicas."""
        while self._models:
            await asyncio.sleep(_PAUSE_SECONDS if await self.reconcile() else _REST_SECONDS)

    async def reconcile(self) -> bool:
        """Look once; return False if a write failed. Where no model has two replicas the gateway is not asked. While
        its counts are unknown, the order stays as it is.
        """
        crowds = list(_crowds(self._pods() or {}, self._models))
        if not crowds:
            return True
        try:
            inside = (await self._load()).replicas
        except Unknown:
            return True
        for crowd in crowds:
            replicas = {
                name: Replica(inside.get(address(pod, ENGINE_PORT), 0.0), _cost(pod) == FIRST)
                for name, pod in crowd.items()
            }
            for name, cost in moves(replicas).items():
                if not await self._annotate(name, {COST: cost}):
                    return False
        return True


def _crowds(pods: Mapping[str, Object], models: Collection[str]) -> Iterator[dict[str, Object]]:
    """Return the ready pods of each ReplicaSet that has several. A pod whose cost someone else wrote is left alone."""
    crowds: dict[str, dict[str, Object]] = defaultdict(dict)
    for name, pod in pods.items():
        if model_of(pod) in models and is_ready(pod) and _cost(pod) in (None, FIRST):
            owner = next((each["uid"] for each in pod["metadata"].get("ownerReferences") or ()), "")
            crowds[owner][name] = pod
    return (crowd for crowd in crowds.values() if len(crowd) > 1)


def _cost(pod: Object) -> str | None:
    return (pod["metadata"].get("annotations") or {}).get(COST)
