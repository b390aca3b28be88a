"""Lives of nodes and of the models' pods, as the cluster shows them, on their way to the database: the ledger charges
them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from ebbtide_accounts.lives import NodeLife, PodLife, write_nodes, write_pods
from ebbtide_kube.api import model_of

from .settings import PaidPool

if TYPE_CHECKING:
    import asyncpg

Object = Mapping[str, Any]
Objects = Mapping[str, Object]
Life = TypeVar("Life", NodeLife, PodLife)
_OVER = ("Succeeded", "Failed")


def common_label(pools: Sequence[PaidPool]) -> str:
    """Return a selector that all nodes of the pools match: a label that each of them has; empty for every node."""
    shared = set.intersection(*(set(pool.labels) for pool in pools)) if pools else set()
    return min(shared, default="")


def node_life(node: Object, pools: Iterable[PaidPool], now: datetime) -> NodeLife | None:
    """Return the life of a node as far as it is known; None for one of no pool."""
    metadata = node["metadata"]
    labels = metadata.get("labels") or {}
    pool = next((each for each in pools if each.labels.items() <= labels.items()), None)
    if pool is None:
        return None
    return NodeLife(
        str(metadata["uid"]),
        str(metadata["name"]),
        pool.name,
        int(node.get("status", {}).get("allocatable", {}).get(pool.gpu_resource, 0)),
        pool.usd_per_hour,
        pool.standing,
        _moment(metadata["creationTimestamp"]),
        now,
    )


def pod_life(pod: Object, resources: Iterable[str], now: datetime) -> PodLife | None:
    """Return the life of a model's pod as far as it is known; None while no node is chosen for it. ``resources``: those
    that stand for GPUs.
    """
    metadata, status = pod["metadata"], pod.get("status", {})
    node = pod["spec"].get("nodeName")
    if not node:
        return None
    since = {each["type"]: each for each in status.get("conditions", ()) if each.get("status") == "True"}
    began = since.get("PodScheduled", {}).get("lastTransitionTime") or metadata["creationTimestamp"]
    ready = since.get("Ready", {}).get("lastTransitionTime")
    limits = [each.get("resources", {}).get("limits", {}) for each in pod["spec"]["containers"]]
    return PodLife(
        str(metadata["uid"]),
        model_of(pod),
        str(node),
        sum(int(each.get(resource, 0)) for each in limits for resource in set(resources)),
        _moment(began),
        None if ready is None else _moment(ready),
        now,
        now if status.get("phase") in _OVER else None,
    )


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


class Lives:
    """All lives that this process knows of, until the database has their ends. ``nodes`` and ``pods`` return what the
    cluster shows, or None while it cannot be read: then nothing has ended.
    """

    def __init__(
        self,
        pools: Sequence[PaidPool],
        nodes: Callable[[], Objects | None],
        pods: Callable[[], Objects | None],
        every_seconds: float,
        wall: Callable[[], datetime] = lambda: datetime.now(UTC),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pools, self._see_nodes, self._see_pods = pools, nodes, pods
        self._resources = {pool.gpu_resource for pool in pools}
        self._every, self._wall, self._clock = every_seconds, wall, clock
        self._nodes: dict[str, NodeLife] = {}
        self._pods: dict[str, PodLife] = {}
        self._has_changed = False
        self._written = clock() - every_seconds

    def changed(self) -> None:
        """Look at the cluster again: something in it has changed."""
        now = self._wall()
        nodes, pods = self._see_nodes(), self._see_pods()
        if nodes is not None:
            self._follow(self._nodes, (node_life(each, self._pools, now) for each in nodes.values()), now)
        if pods is not None:
            self._follow(self._pods, (pod_life(each, self._resources, now) for each in pods.values()), now)

    def _follow(self, known: dict[str, Life], lives: Iterable[Life | None], now: datetime) -> None:
        there = {life.uid: life for life in lives if life is not None}
        for uid, life in known.items():
            if uid not in there and life.ended_at is None:
                there[uid] = replace(life, seen_at=now, ended_at=now)
        for uid, life in there.items():
            before = known.get(uid)
            if before is not None and before.ended_at is not None:
                continue
            if before is None or replace(life, seen_at=before.seen_at) != before:
                self._has_changed = True
            known[uid] = life

    async def write(self, connections: asyncpg.Pool) -> None:
        """Write them when something is new, or when it is time to say what is still there. Raises one of
        ``PROBLEMS``.
        """
        now = self._clock()
        if not self._has_changed and now - self._written < self._every:
            return
        self.changed()
        nodes, pods = list(self._nodes.values()), list(self._pods.values())
        self._has_changed = False
        try:
            await write_nodes(connections, nodes)
            await write_pods(connections, pods)
        except BaseException:
            self._has_changed = True
            raise
        self._written = now
        _forget(self._nodes, nodes)
        _forget(self._pods, pods)


def _forget(known: dict[str, Life], written: Iterable[Life]) -> None:
    """Forget lives whose end is written. One that comes back would be another."""
    for life in written:
        if life.ended_at is not None:
            known.pop(life.uid, None)
