"""A model with two pools: the autoscaler brings its first choice, and the fall-back once the first is exhausted."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from components.platforms.contract import PoolRequest
from lab.rehearsal.cluster import RehearsalCluster
from tests.karpenter.conftest import ACT_SECONDS, EMPTY_SECONDS, GONE_SECONDS, POOLS, SMALL, World, request

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]

assert SMALL.machine is not None
SPOT = replace(request("gpu-1xa10-spot", SMALL.machine, 1, SMALL.zones), spot=True)
ON_DEMAND = request("gpu-1xa10-on-demand", SMALL.machine, 1, SMALL.zones)


@pytest.fixture(autouse=True)
def pools(cluster: RehearsalCluster) -> Iterator[None]:
    """The same machine bought in two ways, one node of each; what the other tests buy is put back."""
    cluster.start_karpenter((SPOT, ON_DEMAND), empty_seconds=EMPTY_SECONDS)
    yield
    cluster.start_karpenter(POOLS, empty_seconds=EMPTY_SECONDS)


def brought(world: World) -> list[str]:
    return sorted(node["metadata"]["labels"]["karpenter.sh/nodepool"] for node in world.gpu_nodes())


@pytest.mark.parametrize("order", [(SPOT, ON_DEMAND), (ON_DEMAND, SPOT)], ids=["spot-first", "spot-last"])
def test_a_pod_whose_first_choice_is_exhausted_lands_on_the_fall_back(
    world: World, order: tuple[PoolRequest, PoolRequest]
) -> None:
    first, second = (each.pool for each in order)
    world.open(max_gpus=3)
    world.model("llama-8b", first, most=3, fallbacks=(second,))

    world.scale("llama-8b", 1)
    world.soon(lambda: world.running_on("llama-8b"), "the first replica to run")
    assert brought(world) == [first.name]

    world.scale("llama-8b", 2)
    world.soon(lambda: len(world.running_on("llama-8b")) == 2, "the second replica to run on the fall-back")
    assert brought(world) == sorted([first.name, second.name])

    world.scale("llama-8b", 3)
    world.never(lambda: len(world.gpu_nodes()) > 2, "a node on any other pool", ACT_SECONDS)

    world.scale("llama-8b", 0)
    world.soon(lambda: not world.gpu_nodes(), "both nodes to go", GONE_SECONDS)
