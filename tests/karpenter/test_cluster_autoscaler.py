"""GPU nodes of AWS come from zero and go again by what the stack writes on its node groups: the tags and Deployments of
a recorded graph before the real Cluster Autoscaler, API server and scheduler. AWS is simulated, its machines are told.

The autoscaler's own program cannot be had from a package registry (docs/decisions/0034), so these tests run where
EBBTIDE_CLUSTER_AUTOSCALER names it: ``make test-autoscaler``. EKS' own interface is left out on purpose: where the
autoscaler may not ask it, the tags are all that describes an empty group.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest
import yaml

from components.platforms.contract import Pool
from infra.workspace import paths
from lab.rehearsal import nodes
from lab.rehearsal.cluster import RehearsalCluster
from lab.rehearsal.process import Part, Parts
from lab.toolchain import go_programs
from tests.karpenter.conftest import ACT_SECONDS, NODE_SECONDS, World
from tests.karpenter.node_groups import STACKS, TEMPLATE, NodeGroup, discovery_tags, flags_of, node_groups, release_of
from tests.karpenter.simulated_aws import Instance, SimulatedAws, Size, server
from tests.karpenter.test_stack_pools import CREATED, MODELS
from tests.program.conftest import free_ports
from tests.program.recorded_manifests import graph, sent

PROGRAM = "EBBTIDE_CLUSTER_AUTOSCALER"
GROUP_LABEL = "eks.amazonaws.com/nodegroup"
STATUS = "/api/v1/namespaces/kube-system/configmaps/cluster-autoscaler-status"
POOL = "gpu-1xa10"
LOOK_SECONDS = 90  # the autoscaler reads its groups anew once a minute
TEST_IDLE = "5s"
# quicker than in a cluster, but for the times that the groups' own tags say
HASTE = ("--scan-interval=1s", "--scale-down-delay-after-add=1s", "--scale-down-unneeded-time=1s")

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not os.environ.get(PROGRAM), reason=f"{PROGRAM} names no Cluster Autoscaler"),
]


@dataclass(kw_only=True)
class GroupWorld(World):
    """The models' namespace, with nodes for the machines that the simulated AWS has."""

    aws: SimulatedAws
    parts: Parts
    groups: Mapping[str, NodeGroup]
    drivers: bool = True  # nodes show their GPUs as soon as they come

    def follow(self) -> None:
        """What machines and EKS do: one that came registers as a node, the node of one that went goes."""
        self.parts.refuse_dead()
        api, there = self.cluster.api, {each.id: each for each in self.aws.instances()}
        known = {node["metadata"]["name"] for node in self.machines()}
        for name in there.keys() - known:
            api.create(self.node(there[name]))
        for name in known - there.keys():
            api.delete(f"/api/v1/nodes/{name}")

    def node(self, instance: Instance) -> dict[str, Any]:
        group = self.groups[instance.group]
        size = size_of(self.aws, group.machine)
        # less what kubelet and system keep
        room = {"cpu": str(size.vcpus), "memory": f"{math.floor(size.memory_mib * 0.93)}Mi", "pods": "110"}
        labels = {
            **group.labels,
            GROUP_LABEL: group.pool,
            "node.kubernetes.io/instance-type": group.machine,
            nodes.ZONE_LABEL: instance.zone,
        }
        cards = {"nvidia.com/gpu": str(size.gpus)} if size.gpus and self.drivers else {}
        node = nodes.node(instance.id, room | cards, labels)
        taints = [{"key": t.key, "value": t.value, "effect": t.effect} for t in group.taints]
        return {**node, "spec": {"providerID": f"aws:///{instance.zone}/{instance.id}", "taints": taints}}

    def start_driver(self, node: Mapping[str, Any], gpus: int) -> None:
        """The node shows its GPUs."""
        room = {**node["status"]["allocatable"], "nvidia.com/gpu": str(gpus)}
        status = {"status": {"capacity": room, "allocatable": room}}
        self.cluster.api.merge(f"/api/v1/nodes/{node['metadata']['name']}/status", status)

    def machines(self) -> list[dict[str, Any]]:
        return [n for n in self.cluster.api.items("/api/v1/nodes") if GROUP_LABEL in n["metadata"]["labels"]]

    def gpu_nodes(self, pool: Pool | None = None) -> list[dict[str, Any]]:
        return [n for n in self.machines() if n["metadata"]["labels"][GROUP_LABEL] != "system"]

    def deployments(self) -> list[dict[str, Any]]:
        return self.cluster.api.items(f"/apis/apps/v1/namespaces/{self.namespace}/deployments")

    def placed(self, name: str) -> str:
        """The node that a pod of ``gpu_pod`` runs on; empty where it waits."""
        pod = self.cluster.api.get(f"/api/v1/namespaces/default/pods/{name}") or {}
        return str(pod["spec"].get("nodeName") or "")

    def sizes(self) -> dict[str, int]:
        """How many machines each group with GPUs wants, by its pool."""
        sizes = {self.groups[name].pool: size for name, size in self.aws.sizes().items()}
        assert sizes.pop("system") == self.groups["eks-system"].least
        return sizes

    def status(self) -> dict[str, dict[str, Any]]:
        """What the autoscaler says of the health of each group, by its pool; nothing before its first look."""
        data = (self.cluster.api.get(STATUS) or {}).get("data") or {"status": "{}"}
        groups = yaml.safe_load(data["status"]).get("nodeGroups") or ()
        return {self.groups[each["name"]].pool: each["health"] for each in groups}

    def counted(self, pool: str) -> dict[str, Any]:
        """How many nodes the autoscaler itself counts in the pool's group: ``total``, ``ready`` and more."""
        return dict(self.status()[pool]["nodeCounts"]["registered"])

    def soon(self, ready: Callable[[], object], what: str, seconds: float = NODE_SECONDS) -> None:
        super().soon(lambda: self.follow() or ready(), what, seconds)

    def never(self, event: Callable[[], object], what: str, seconds: float = ACT_SECONDS) -> None:
        super().never(lambda: self.follow() or event(), what, seconds)

    def gpu_pod(self, name: str, pool: str, *, tolerant: bool, storage: str = "1Gi") -> None:
        """A pod that asks for a GPU of the pool."""
        group = self.groups[f"eks-{pool}"]
        tolerations = [{"key": t.key, "value": t.value, "effect": t.effect} for t in group.taints if tolerant]
        worker = {"workerType": group.labels["workerType"]}
        limits = {"nvidia.com/gpu": "1", "ephemeral-storage": storage}
        spec = {"nodeSelector": worker, "tolerations": tolerations, "container": {"resources": {"limits": limits}}}
        self.pod(name, spec)


@cache
def size_of(aws: SimulatedAws, machine: str) -> Size:
    return aws.size_of(machine)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RehearsalCluster]:
    """One without Karpenter, which would buy nodes too."""
    go_programs.build_rehearsal(paths(), lambda name: print(f"building {name}"), lambda line: None)
    with RehearsalCluster(tmp_path_factory.mktemp("autoscaler") / "cluster", paths()) as running:
        running.start()
        yield running


Stage = Callable[..., Any]


@pytest.fixture
def stage(cluster: RehearsalCluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Opens a stack of the project on an empty account; the group of ``POOL`` lacks the tag ``without``."""
    parts = Parts(cluster.logs.parent, cluster.logs)
    moto, health = free_ports(2)

    @contextmanager
    def opened(stack: str, without: str | None = None) -> Iterator[GroupWorld]:
        recorded = graph(stack, tmp_path_factory)
        release = release_of(recorded)
        aws = SimulatedAws(f"http://127.0.0.1:{moto}", release["values"]["awsRegion"])
        parts.start(server(moto))
        cluster.wait(aws.answers, "the simulated AWS to answer", NODE_SECONDS)
        groups = {each.name: each for each in node_groups(recorded)}
        for group in groups.values():
            tags = {**discovery_tags(release), **group.tags}
            if without is not None and group.pool == POOL:
                del tags[f"{TEMPLATE}/{without}"]
            aws.make(group, tags)
        world = GroupWorld(cluster, MODELS, aws=aws, parts=parts, groups=groups)
        try:
            for each in sent(recorded):
                metadata = each.document["metadata"]
                mine = metadata.get("namespace", metadata["name"]) == MODELS
                if each.document["kind"] in CREATED and (mine or each.document["kind"] == "PriorityClass"):
                    cluster.api.apply(each.document)
            parts.start(autoscaler(cluster, aws, flags_of(release), health))
            world.soon(lambda: len(world.status()) == len(groups), "the autoscaler to find every group")
            version = release["values"]["image"]["tag"].removeprefix("v")
            assert f"Cluster Autoscaler {version}" in parts.log("cluster-autoscaler").read_text()
            assert not any(world.sizes().values())
            yield world
        finally:
            parts.end_all()
            cluster.api.delete(STATUS)
            world.close()
            # a pod whose node went first would stay, and the next test's has its name
            gone = lambda: all(cluster.api.get(path) is None for path in world.made)  # noqa: E731
            cluster.wait(gone, "this test's pods to be gone", NODE_SECONDS)
            for node in world.machines():
                cluster.api.delete(f"/api/v1/nodes/{node['metadata']['name']}")

    yield opened
    parts.end_all()


def autoscaler(cluster: RehearsalCluster, aws: SimulatedAws, flags: tuple[str, ...], port: int) -> Part:
    """The real program with the stack's flags, whose every call of AWS is led to the simulated one."""
    config = cluster.logs.parent / "aws.conf"
    config.write_text(aws.cloud_config())
    own = (
        f"--kubeconfig={cluster.kubeconfig}",
        f"--cloud-config={config}",
        f"--address=127.0.0.1:{port}",
        "--leader-elect=false",
        "--aws-use-static-instance-list=true",  # the simulated list takes it most of a minute
        "--v=4",
    )
    environment = {
        "AWS_REGION": aws.region,
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    return Part("cluster-autoscaler", (os.environ[PROGRAM], *flags, *HASTE, *own), environment)


@pytest.mark.parametrize("stack", STACKS)
def test_each_model_woken_brings_a_machine_of_its_own_group_and_none_of_another(stage: Stage, stack: str) -> None:
    with stage(stack) as world:
        models = [each["metadata"]["name"] for each in world.deployments()]
        for name in models:
            world.scale(name, 1)
        for name in models:
            world.soon(lambda name=name: world.running_on(name), f"{name} to run")
            (node,), (pod,) = world.running_on(name), world.pods(name)
            assert pod["spec"]["nodeSelector"].items() <= node["metadata"]["labels"].items()
        assert set(world.sizes().values()) == {1}


def test_three_pods_bring_as_many_machines_as_the_pool_may_have_and_the_group_goes_back_to_zero(stage: Stage) -> None:
    with stage("aws-prod") as world:
        most = world.groups[f"eks-{POOL}"].most
        world.scale("llama-8b", most + 1)
        world.soon(lambda: len(world.running_on("llama-8b")) == most, "as many replicas as the pool has machines")
        others = dict.fromkeys(world.sizes(), 0)
        assert world.sizes() == others | {POOL: most}
        world.soon(lambda: world.counted(POOL)["ready"] == most, "the autoscaler to know its nodes", LOOK_SECONDS)
        world.never(lambda: world.sizes() != others | {POOL: most}, "another machine")
        assert [p["status"]["phase"] for p in world.pods("llama-8b")].count("Pending") == 1

        world.scale("llama-8b", 0)
        world.never(lambda: world.sizes()[POOL] < most, "a machine to go before the time that its group's tag says")
        world.aws.tag(world.groups[f"eks-{POOL}"], f"{TEMPLATE}/autoscaling-options/scaledownunneededtime", TEST_IDLE)
        world.soon(lambda: world.sizes() == others and not world.gpu_nodes(), "the group to be empty", 2 * LOOK_SECONDS)


def test_a_node_whose_driver_comes_late_is_waited_for_and_no_second_one_comes(stage: Stage) -> None:
    with stage("aws-prod") as world:
        world.drivers = False
        world.scale("llama-8b", 1)
        world.soon(
            lambda: world.counted(POOL)["total"] == 1, "the autoscaler to know a node without GPUs", LOOK_SECONDS
        )
        assert world.counted(POOL)["ready"] == 0
        world.never(lambda: world.sizes()[POOL] > 1, "a second machine")
        (node,) = world.gpu_nodes()
        world.start_driver(node, 1)
        world.soon(lambda: world.running_on("llama-8b"), "the model to run")


def test_a_pod_without_the_toleration_brings_no_machine_and_keeps_none_from_who_has_it(stage: Stage) -> None:
    with stage("aws-prod") as world:
        world.gpu_pod("asks-for-the-pool", POOL, tolerant=False)
        world.pod("asks-for-a-gpu", {"container": {"resources": {"limits": {"nvidia.com/gpu": "1"}}}})
        world.never(lambda: any(world.sizes().values()), "a machine for pods that do not tolerate it")
        world.scale("llama-8b", 1)
        world.soon(lambda: world.running_on("llama-8b"), "the model to run")
        assert not world.placed("asks-for-the-pool") + world.placed("asks-for-a-gpu")


def test_without_the_taints_tag_a_machine_comes_for_a_pod_that_may_not_run_on_it(stage: Stage) -> None:
    with stage("aws-prod", without="taint/workerType") as world:
        world.gpu_pod("asks-for-the-pool", POOL, tolerant=False)
        world.soon(lambda: world.gpu_nodes(), "a machine in vain")
        world.never(lambda: world.placed("asks-for-the-pool"), "the pod to run")


def test_without_the_labels_tag_a_model_brings_no_machine(stage: Stage) -> None:
    with stage("aws-prod", without="label/workerType") as world:
        world.scale("llama-8b", 1)
        world.scale("llama-70b", 1)
        world.soon(lambda: world.running_on("llama-70b"), "the model of the other pool, whose tags are whole, to run")
        world.never(lambda: world.sizes()[POOL], "a machine of a group that is not known to have the label")


@pytest.mark.parametrize("without", [None, "resources/ephemeral-storage"])
def test_room_on_the_disk_is_known_by_its_tag_alone(stage: Stage, without: str | None) -> None:
    with stage("aws-prod", without=without) as world:
        world.gpu_pod("large", POOL, tolerant=True, storage="500Gi")
        if without is None:
            world.soon(lambda: world.placed("large"), "a machine for a pod that needs its disk")
        else:
            world.never(lambda: any(world.sizes().values()), "a machine whose disk is not known")
