"""Lives of nodes and pods as the cluster shows them, without a cluster or a database."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from tests.unit import gateway_kit  # puts the image's package on the path

from ebbtide_accounts.lives import NodeLife, PodLife  # isort: skip
from ebbtide_gateway import lives  # isort: skip
from ebbtide_gateway.settings import PaidPool  # isort: skip

assert gateway_kit
START = datetime(2026, 11, 30, 8, tzinfo=UTC)
PRICE = Decimal("1.006")
POOL = PaidPool(name="small", labels={"workerType": "gpu_1xa10", "team": "a"}, usd_per_hour=PRICE)


def at(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def stamp(minutes: float) -> str:
    return at(minutes).isoformat().replace("+00:00", "Z")


def node(uid: str = "n", gpus: int = 1, **labels: str) -> dict[str, Any]:
    metadata = {"uid": uid, "name": f"node-{uid}", "creationTimestamp": stamp(0), "labels": POOL.labels | labels}
    return {"metadata": metadata, "status": {"allocatable": {"nvidia.com/gpu": str(gpus), "cpu": "8"}}}


def pod(
    uid: str = "p", scheduled: float | None = 2, ready: float | None = None, phase: str = "Running"
) -> dict[str, Any]:
    moments = {"PodScheduled": scheduled, "Ready": ready}
    conditions = [
        {"type": name, "status": "True", "lastTransitionTime": stamp(moment)}
        for name, moment in moments.items()
        if moment is not None
    ]
    return {
        "metadata": {"uid": uid, "name": uid, "creationTimestamp": stamp(1), "labels": {"ebbtide.dev/model": "llama"}},
        "spec": {
            "nodeName": "node-n" if scheduled is not None else "",
            "containers": [{"resources": {"limits": {"nvidia.com/gpu": "2"}}}, {"resources": {}}],
        },
        "status": {"phase": phase, "conditions": conditions},
    }


NODE = NodeLife("n", "node-n", "small", 1, PRICE, False, at(0), at(5))
POD = PodLife("p", "llama", "node-n", 2, at(2), None, at(5))


def test_a_node_is_of_the_pool_whose_labels_it_has_and_others_are_not_followed() -> None:
    assert lives.node_life(node(), [POOL], at(5)) == NODE
    assert lives.node_life(node(gpus=0), [POOL], at(5)) == replace(NODE, gpus=0), "its driver is not there yet"
    assert lives.node_life(node(team="b"), [POOL], at(5)) is None
    bare = {"metadata": {"uid": "x", "name": "x", "creationTimestamp": stamp(0)}}
    assert lives.node_life(bare, [POOL], at(5)) is None


def test_a_pod_holds_its_gpus_from_when_its_node_was_chosen() -> None:
    assert lives.pod_life(pod(scheduled=None), ["nvidia.com/gpu"], at(5)) is None
    assert lives.pod_life(pod(), ["nvidia.com/gpu"], at(5)) == POD
    assert lives.pod_life(pod(ready=4), ["nvidia.com/gpu"], at(5)) == replace(POD, ready_at=at(4))
    assert lives.pod_life(pod(phase="Failed"), ["nvidia.com/gpu"], at(5)) == replace(POD, ended_at=at(5))
    assert lives.pod_life(pod(), ["nvidia.com/mig-1g.10gb"], at(5)) == replace(POD, gpus=0)


def test_nodes_are_asked_for_by_a_label_that_all_pools_have() -> None:
    assert lives.common_label([POOL]) == "team"
    assert lives.common_label([POOL, POOL.model_copy(update={"labels": {"workerType": "x"}})]) == "workerType"
    assert lives.common_label([POOL, POOL.model_copy(update={"labels": {"other": "x"}})]) == "", "every node then"


@dataclass
class World:
    """A cluster, a clock and what the database was given."""

    minutes: float = 5
    nodes: dict[str, Any] | None = field(default_factory=lambda: {"node-n": node()})
    pods: dict[str, Any] | None = field(default_factory=lambda: {"p": pod()})
    written: list[Any] = field(default_factory=list)
    is_away: bool = False

    def lives(self, monkeypatch: pytest.MonkeyPatch) -> lives.Lives:
        async def write(_: Any, lives_given: list[Any]) -> None:
            if self.is_away:
                raise OSError("away")
            self.written += lives_given

        for name in ("write_nodes", "write_pods"):
            monkeypatch.setattr(lives, name, write)
        return lives.Lives(
            [POOL],
            lambda: self.nodes,
            lambda: self.pods,
            600,
            lambda: at(self.minutes),
            lambda: self.minutes * 60,
        )

    def write(self, followed: lives.Lives) -> list[Any]:
        """What is written now."""
        self.written = []
        connections: Any = None
        asyncio.run(followed.write(connections))
        return self.written


def test_what_is_new_is_written_at_once_and_what_is_still_there_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    followed = world.lives(monkeypatch)
    followed.changed()
    assert world.write(followed) == [NODE, POD]
    world.minutes = 6
    followed.changed()
    assert world.write(followed) == [], "nothing but the time has changed"
    world.minutes = 16
    assert world.write(followed) == [replace(NODE, seen_at=at(16)), replace(POD, seen_at=at(16))]
    world.minutes, world.pods = 17, {"p": pod(ready=16.5)}
    followed.changed()
    assert replace(POD, seen_at=at(17), ready_at=at(16.5)) in world.write(followed)


def test_what_is_gone_has_ended_once_and_nothing_ends_while_the_cluster_cannot_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world = World()
    followed = world.lives(monkeypatch)
    followed.changed()
    world.write(followed)
    world.minutes, world.nodes, world.pods = 7, None, None
    followed.changed()
    assert world.write(followed) == []
    world.minutes, world.nodes, world.pods = 8, {"node-n": node()}, {}
    followed.changed()
    world.is_away = True
    with pytest.raises(OSError, match="away"):
        world.write(followed)
    world.minutes, world.is_away = 9, False
    ended = replace(POD, seen_at=at(8), ended_at=at(8))
    assert world.write(followed) == [replace(NODE, seen_at=at(9)), ended], "as it was, though the database was away"
    world.minutes = 30
    assert world.write(followed) == [replace(NODE, seen_at=at(30))]
