"""The autoscaler's view of a pool, and the programs' pins: pure values, no cluster."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from components.catalog.machine import Price
from components.platforms.contract import Pool, PoolRequest, Taint
from infra.errors import LocalProblem
from lab.rehearsal import nodes, programs
from lab.rehearsal.api import named
from lab.rehearsal.control import Ports
from tests.machines import G5

PRICES = {"r": Price(2.448, 0.9, "2026-11-01", "a test"), "s": Price(3.0, None, "2026-11-01", "a test")}
MACHINE = replace(G5, local_disk_gib=0, prices=PRICES)
POOL = Pool("gpu-1xa10", {"workerType": "gpu_1xa10"}, (Taint("workerType", "gpu_1xa10"),), 1, max_nodes=2)


def test_the_limit_is_counted_in_the_resource_that_pods_ask_for() -> None:
    sliced = replace(POOL, gpu_resource="nvidia.com/mig-1g.10gb", gpus_per_node=7)
    spec = nodes.node_pool(PoolRequest(sliced, MACHINE), empty_seconds=20)["spec"]
    assert spec["limits"] == {"nvidia.com/mig-1g.10gb": "14"}
    (row,) = nodes.instance_types([PoolRequest(sliced, MACHINE)])
    assert row["resources"]["nvidia.com/mig-1g.10gb"] == "7"


def test_a_spot_pool_in_two_zones_is_offered_there_and_nowhere_else() -> None:
    request = PoolRequest(POOL, MACHINE, ("a", "b"), spot=True)
    (row,) = nodes.instance_types([request])
    offered = {tuple(r["values"][0] for r in offer["Requirements"]) for offer in row["offerings"]}
    assert offered == {("spot", "a"), ("spot", "b")}
    assert {offer["Price"] for offer in row["offerings"]} == {0.9}
    requirements = {
        r["key"]: r["values"]
        for r in nodes.node_pool(request, empty_seconds=5)["spec"]["template"]["spec"]["requirements"]
    }
    assert requirements[nodes.CAPACITY_LABEL] == ["spot"]
    assert requirements[nodes.ZONE_LABEL] == ["a", "b"]


def test_two_pools_of_one_machine_make_one_row_with_both_their_offers() -> None:
    other = PoolRequest(replace(POOL, name="other"), MACHINE, ("b",))
    (row,) = nodes.instance_types([PoolRequest(POOL, MACHINE, ("a",)), other])
    assert len(row["offerings"]) == 2


def test_a_machine_keeps_some_of_its_memory_from_pods() -> None:
    (row,) = nodes.instance_types([PoolRequest(POOL, MACHINE)])
    assert row["resources"]["memory"] == "119Gi"
    assert row["resources"]["cpu"] == "32"


def test_a_pool_without_a_machine_has_one_of_its_own_name() -> None:
    (row,) = nodes.instance_types([PoolRequest(POOL)])
    assert row["name"] == "gpu-1xa10"


def test_ports_are_below_those_lent_to_outgoing_connections() -> None:
    lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    chosen = vars(Ports.free()).values()
    assert len(set(chosen)) == len(list(chosen))
    assert max(chosen) < lowest


def test_an_edit_that_finds_nothing_to_change_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.go").write_text("as it never was")
    module = replace(programs.KARPENTER, edits=(programs.Edit("a.go", "as it was", "as it is"),))
    with pytest.raises(LocalProblem, match=r"a\.go no longer has as it was"):
        module.prepare(tmp_path)


def test_a_file_that_the_module_lost_is_named(tmp_path: Path) -> None:
    with pytest.raises(LocalProblem, match=r"node-initialize\.yaml"):
        programs.KWOK.render(tmp_path, tmp_path / "out.yaml")
    assert not (tmp_path / "out.yaml").exists()


def test_an_object_is_named_as_people_say_it() -> None:
    document = {"kind": "Deployment", "metadata": {"name": "a", "namespace": "b"}}
    assert named(document) == "Deployment b/a"
