"""Every cloud stack from its first ``up`` to ``destroy``: the real engine and a real API server, clouds in a folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import yaml

from lab.plugins.clouds import facts
from lab.plugins.clouds.failures import Failure, Kind
from lab.rehearsal.cluster import RehearsalCluster
from tests.rehearsal.conftest import OnStage
from tests.rehearsal.pools import POOLS, PoolKind
from tests.rehearsal.same_graph import differences
from tests.rehearsal.stage import StackStage

pytestmark = pytest.mark.engine

STACKS = [f"{cloud}-{environment}" for cloud in POOLS for environment in ("dev", "prod")]
DEV = [stack for stack in STACKS if stack.endswith("-dev")]


def pool_of(stage: StackStage) -> tuple[str, PoolKind]:
    """The first GPU pool of a stack."""
    return next(iter(stage.config()["ebbtide:pools"])), POOLS[stage.stack.partition("-")[0]]


def change_pool(stage: StackStage, **changed: Any) -> None:
    """Edit the first pool, and lift the ceilings that would refuse a larger one."""

    def change(config: dict[str, Any]) -> None:
        next(iter(config["ebbtide:pools"].values())).update(changed)
        config["ebbtide:guard"].update({"maxGpus": 64, "maxDollarsPerHour": 9999})

    stage.edit(change)


def take_down(stage: StackStage) -> None:
    """Take a stack of production away, in the steps of its cloud's page."""
    open_pulumis_lock = ("state", "unprotect", "--all", "--yes", f"--stack={stage.stack}")
    if stage.stack.startswith("gcp-"):
        stage.run(*open_pulumis_lock)
        assert "deletion_protection" in stage.destroy(fails=True).output

        def open_googles_lock(config: dict[str, Any]) -> None:
            config["ebbtide:platform"]["cluster"]["deletionProtection"] = False

        stage.edit(open_googles_lock)
    stage.up()  # shuts Pulumi's lock again
    assert "protect" in stage.destroy(fails=True).output
    stage.run(*open_pulumis_lock)
    stage.destroy()


def objects(cluster: RehearsalCluster) -> set[str]:
    """The namespaces that a stack made in its cluster."""
    namespaces = {item["metadata"]["name"] for item in cluster.api.items("/api/v1/namespaces")}
    return {name for name in namespaces if name != "default" and not name.startswith("kube-")}


@pytest.mark.parametrize("stack", STACKS)
def test_a_stack_comes_up_stays_as_it_is_changes_in_place_and_protects_or_takes_down_what_it_made(
    stack: str, on_stage: OnStage, cluster: RehearsalCluster, record_property: Callable[[str, Any], None]
) -> None:
    stage = on_stage(stack)
    name, kind = pool_of(stage)
    record_property("seconds up", stage.up().seconds)
    record_property("resources", len(stage.resources()))
    _knows_every_type(stage, kind.package)
    lines = list(differences(stage.graph(), stage.resources()))
    assert not lines, "`graph` does not say what `up` makes:\n" + "\n".join(lines)
    stage.steady()
    first = kind.of(stage, name)

    # the autoscaler's number is its own
    stage.drift(kind.package, first, **kind.woken(first))
    stage.preview("--expect-no-changes")
    stage.refresh()
    stage.preview("--expect-no-changes")

    # a larger maximum changes the pool that is there, and leaves its nodes alone; a managed group of EKS gets it by a
    # command, which `up` prints
    by_hand = stack.startswith("aws-")
    change_pool(stage, max=4)
    assert ("update-nodegroup-config" in stage.up().output) == by_hand
    grown = kind.of(stage, name)
    most = kind.most(first) if by_hand else 4
    assert (kind.most(grown), kind.nodes(grown), grown.id) == (most, 2, first.id)

    # another machine is another pool: refused where it is protected
    change_pool(stage, machine=kind.other_machine)
    if stack.endswith("-prod"):
        for refused in (stage.preview(fails=True), stage.up(fails=True)):
            assert "marked for protection" in refused.output
        assert kind.machine(kind.of(stage, name)) == kind.machine(first)
        assert "protect" in stage.destroy(fails=True).output
        assert kind.of(stage, name)
        change_pool(stage, machine=kind.machine(first))
        take_down(stage)
        assert [record.id for record in stage.live(kind.package)] == []
        return
    stage.up()
    assert kind.machine(kind.of(stage, name)) == kind.other_machine
    record_property("seconds destroy", stage.destroy().seconds)
    assert [record.id for record in stage.live(kind.package)] == []
    assert objects(cluster) == set()
    stage.up()  # what cannot be deleted for good (a key ring, a vault's name) must not stand in the way


def _knows_every_type(stage: StackStage, package: str) -> None:
    known = facts.book(package).types
    used = {r["type"] for r in stage.resources() if r["type"].startswith(f"{package}:")}
    assert used <= known.keys(), f"facts/{package}.yaml lacks {sorted(used - known.keys())}"


SAID: dict[str, dict[Kind, str]] = {
    "aws": {
        "quota": "VcpuLimitExceeded",
        "stockout": "InsufficientInstanceCapacity",
        "timeoutHalfWay": "timeout while",
    },
    "azure": {"quota": "InsufficientVCPUQuota", "stockout": "AllocationFailed", "timeoutHalfWay": "deadline exceeded"},
    "gcp": {"quota": "Insufficient regional quota", "stockout": "GCE_STOCKOUT", "timeoutHalfWay": "timeout while"},
}


@pytest.mark.parametrize("stack", DEV)
def test_whatever_fails_on_the_way_up_the_state_is_sound_and_the_next_up_goes_on(stack: str, on_stage: OnStage) -> None:
    stage = on_stage(stack)
    _, kind = pool_of(stage)
    messages = SAID[stack.partition("-")[0]]
    for failure in messages:
        stage.fail(Failure(kind.kind, "create", failure))
        assert messages[failure] in stage.up(fails=True).output
        state = stage.exported()
        assert not state.get("pending_operations")
        known = {r.get("id") for r in state["resources"]}
        assert {record.id for record in stage.live(kind.package)} <= known, "something is there that nobody knows of"
    stage.fail(Failure(kind.kind, "update", "throttle", 3))
    stage.up()
    stage.steady()


@pytest.mark.parametrize("stack", DEV)
def test_credentials_of_another_account_are_refused_before_anything_is_made(
    stack: str, on_shared_stage: OnStage
) -> None:
    stage = on_shared_stage(stack)
    cloud, (_, kind) = stack.partition("-")[0], pool_of(stage)
    other = {"aws": {"account": "999999999999"}, "azure": {"subscription": "other"}, "gcp": {"project": "other"}}
    stage.as_account(kind.package, **other[cloud])
    for refused in (stage.preview(fails=True), stage.up(fails=True)):
        assert "Traceback" not in refused.output
        assert any(word in refused.output for word in ("not allowed", "doesn't exist", "not visible")), refused.output
    assert stage.live(kind.package) == []


def test_a_cluster_that_is_there_gets_the_stack_and_is_left_as_it_was(
    on_shared_stage: OnStage, shared_cluster: RehearsalCluster
) -> None:
    stage = on_shared_stage("onprem")
    shared_cluster.add_node("gpu-node-1", {"nvidia.com/gpu": "1"})
    path = "/api/v1/nodes/gpu-node-1"
    before = (shared_cluster.api.get(path) or {})["spec"].get("taints")
    settings = yaml.safe_load(shared_cluster.kubeconfig.read_text())
    settings["contexts"][0]["name"] = settings["current-context"] = "gpu-cluster"
    (stage.root / ".kube").mkdir()
    (stage.root / ".kube" / "config").write_text(yaml.safe_dump(settings))
    stage.env["HOME"] = str(stage.root)
    stage.up()
    stage.steady()
    assert "gpu_1xl40s" in str((shared_cluster.api.get(path) or {})["spec"]["taints"])
    stage.destroy()
    assert (shared_cluster.api.get(path) or {})["spec"].get("taints") == before
    assert objects(shared_cluster) == set()
