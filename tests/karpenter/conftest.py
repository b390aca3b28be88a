"""One real control plane with a real autoscaler for all tests of this folder; each test has a namespace of its own.

The pools are bought from the machines they name; what they are called, labelled and tainted is what a stack file makes
of the same names. Nodes are taken away between tests, so that every test begins at zero.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from components.catalog.machine import Machine
from components.model_service.namespace import (
    INSTANCE_QUOTA_NAME,
    QUOTA_NAME,
    gpu_quota,
    instance_class,
    instance_quota,
    namespace_labels,
)
from components.model_service.settings import MODEL_LABEL, SERVICE_ACCOUNT, ModelSettings
from components.model_service.workload import Placement, deployment
from components.platforms.contract import Pool, PoolRequest, Taint, Weights
from infra.errors import LocalProblem
from infra.stackfile.schema.pool import PoolConfig
from infra.workspace import paths
from lab.rehearsal.cluster import RehearsalCluster
from lab.toolchain import go_programs
from tests.machines import G5

NODE_SECONDS = 60
GONE_SECONDS = 120
EMPTY_SECONDS = 5
_STACKS = ("test_cluster_autoscaler.py", "test_rehearsal_cluster.py", "test_stack_pools.py")
ACT_SECONDS = 12  # the autoscaler gathers pending pods for a second and decides in less than ten


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Two workers at most have a cluster of their own, and each uses its one from the first test to the last."""
    for item in items:
        if Path(__file__).parent in item.path.parents and "engine" in item.keywords:
            half = "stacks" if item.path.name in _STACKS else "models"
            item.add_marker(pytest.mark.xdist_group(f"karpenter {half}"))


def request(name: str, machine: Machine, most: int, zones: tuple[str, ...]) -> PoolRequest:
    """A pool as a stack file declares it, with the labels and taints that follow from its name."""
    declared = PoolConfig.model_validate({"<name>": name, "gpu": {"count": machine.gpus}, "max": most})
    pool = Pool(
        name,
        dict(declared.labels),
        tuple(Taint(t.key, t.value, t.effect) for t in declared.taints),
        machine.gpus,
        max_nodes=most,
    )
    return PoolRequest(pool, machine, zones)


SMALL = request(
    "gpu-1xa10",
    replace(G5, local_disk_gib=0),
    2,
    ("eu-west-1a",),
)
LARGE = request(
    "gpu-8xa100",
    Machine(
        name="p4d.24xlarge",
        place="aws",
        gpu="A100",
        gpus=8,
        gpu_memory_gib=40,
        compute_capability="8.0",
        vcpus=96,
        memory_gib=1152,
        interconnect="nvlink",
    ),
    1,
    ("eu-west-1b",),
)
POOLS = (SMALL, LARGE)


@dataclass
class World:
    """A namespace as ``ModelNamespace`` makes it, and eyes on what runs and on which nodes there are."""

    cluster: RehearsalCluster
    namespace: str
    made: list[str] = field(default_factory=list)
    priority_class: str | None = None

    def open(self, max_gpus: int, max_instances: int | None = None) -> None:
        """The namespace with its quotas and the models' service account."""
        api = self.cluster.api
        inside = {"namespace": self.namespace}
        api.apply(
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": self.namespace, "labels": namespace_labels()},
            }
        )
        gpus = gpu_quota(max_gpus, {request.pool.gpu_resource for request in POOLS})
        self._bound(QUOTA_NAME, {"hard": gpus})
        if max_instances is not None:
            name = self.priority_class = instance_class(self.namespace)
            about = {"apiVersion": "scheduling.k8s.io/v1", "kind": "PriorityClass", "metadata": {"name": name}}
            api.apply({**about, "value": 0})
            self.made.append(f"/apis/scheduling.k8s.io/v1/priorityclasses/{name}")
            self._bound(INSTANCE_QUOTA_NAME, instance_quota(max_instances, self.namespace))
        api.apply(
            {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": SERVICE_ACCOUNT, **inside}},
        )

    def _bound(self, name: str, spec: Mapping[str, Any]) -> None:
        metadata = {"name": name, "namespace": self.namespace}
        self.cluster.api.apply({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": metadata, "spec": spec})
        self.soon(lambda: self.quota(name).get("hard") == spec["hard"], f"{name} to be in force")

    def quota(self, name: str) -> dict[str, Any]:
        """The status of a quota."""
        path = f"/api/v1/namespaces/{self.namespace}/resourcequotas/{name}"
        return (self.cluster.api.get(path) or {}).get("status") or {}

    def model(self, name: str, pool: Pool, *, gpus: int = 1, most: int = 1, fallbacks: tuple[Pool, ...] = ()) -> None:
        """A sleeping model: the very Deployment that the component renders for a cloud's pool."""
        settings = ModelSettings(name, "owner/name", "0" * 40, gpus=gpus, max_replicas=most)
        image = "registry.example.com/ebbtide/vllm@sha256:" + "a" * 64
        weights = Weights("s3://bucket/owner--name/0", "runai_streamer")
        place = Placement(
            namespace=self.namespace,
            pool=pool,
            image=image,
            weights=weights,
            fallbacks=fallbacks,
            priority_class=self.priority_class,
        )
        self.cluster.api.apply({"apiVersion": "apps/v1", "kind": "Deployment", **deployment(settings, place)})

    def scale(self, name: str, replicas: int) -> None:
        """What KEDA does."""
        path = f"/apis/apps/v1/namespaces/{self.namespace}/deployments/{name}/scale"
        self.cluster.api.merge(path, {"spec": {"replicas": replicas}})

    def pod(self, name: str, spec: Mapping[str, Any]) -> None:
        """Somebody else's pod, in a namespace without rules."""
        container = {"name": "c", "image": "somebody/else:1", **spec.get("container", {})}
        own = {key: value for key, value in spec.items() if key != "container"}
        self.cluster.api.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": name, "namespace": "default"},
                "spec": {"containers": [container], **own},
            }
        )
        self.made.append(f"/api/v1/namespaces/default/pods/{name}")

    def pods(self, model: str | None = None) -> list[dict[str, Any]]:
        pods = self.cluster.api.items(f"/api/v1/namespaces/{self.namespace}/pods")
        return [p for p in pods if model is None or p["metadata"]["labels"].get(MODEL_LABEL) == model]

    def running_on(self, model: str) -> list[dict[str, Any]]:
        """The nodes of the model's running pods."""
        names = {p["spec"].get("nodeName") for p in self.pods(model) if p["status"].get("phase") == "Running"}
        return [node for node in self.gpu_nodes() if node["metadata"]["name"] in names]

    def gpu_nodes(self, pool: Pool | None = None) -> list[dict[str, Any]]:
        """Nodes that the autoscaler brought (for one pool)."""
        nodes_there = [
            n for n in self.cluster.api.items("/api/v1/nodes") if "karpenter.sh/nodepool" in n["metadata"]["labels"]
        ]
        return [n for n in nodes_there if pool is None or n["metadata"]["labels"]["karpenter.sh/nodepool"] == pool.name]

    def soon(self, ready: Callable[[], object], what: str, seconds: float = NODE_SECONDS) -> None:
        try:
            self.cluster.wait(ready, what, seconds)
        except LocalProblem as problem:
            nodes = [(n["metadata"]["name"], n["spec"].get("taints")) for n in self.gpu_nodes()]
            pods = [(p["metadata"]["name"], p["status"]) for p in self.pods()]
            pytest.fail(f"{problem}\nnodes: {nodes}\npods: {pods}", pytrace=False)

    def never(self, event: Callable[[], object], what: str, seconds: float) -> None:
        """It does not happen in ``seconds``: longer than the autoscaler needs to gather what is pending and to act."""
        try:
            self.cluster.wait(event, what, seconds)
        except LocalProblem as problem:
            if "in vain" not in str(problem):
                raise
            return
        pytest.fail(f"it should not have come to this: {what}", pytrace=False)

    def close(self) -> None:
        """Everything of this test goes, its nodes too."""
        api = self.cluster.api
        for path in self.made:
            api.delete(path)
        space = f"/api/v1/namespaces/{self.namespace}"
        api.delete(space)
        # first the pods: a waiting one would have its node bought again
        self.cluster.wait(lambda: api.get(space) is None, "this test's pods to be gone", GONE_SECONDS)
        api.delete("/apis/karpenter.sh/v1/nodeclaims")
        self.cluster.wait(self._no_gpu_node, "this test's nodes to be gone", GONE_SECONDS)

    def _no_gpu_node(self) -> bool:
        nodes_there = self.gpu_nodes()
        for node in nodes_there:
            if not node["metadata"].get("deletionTimestamp"):
                # one that came while its claim went is nobody's
                self.cluster.api.delete(f"/api/v1/nodes/{node['metadata']['name']}")
        return not nodes_there


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RehearsalCluster]:
    """Started once; ``build_rehearsal`` does nothing where its programs are there."""
    go_programs.build_rehearsal(paths(), lambda name: print(f"building {name}"), lambda line: None)
    with RehearsalCluster(tmp_path_factory.mktemp("rehearsal") / "cluster", paths()) as running:
        running.start(karpenter=True, pools=POOLS, empty_seconds=EMPTY_SECONDS)
        yield running


@pytest.fixture
def world(cluster: RehearsalCluster, request: pytest.FixtureRequest) -> Iterator[World]:
    name = re.sub(r"[^a-z0-9]+", "-", request.node.name.removeprefix("test_"))[:50].strip("-")
    world = World(cluster, name)
    try:
        yield world
    finally:
        world.close()
