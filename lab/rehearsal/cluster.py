"""Start and end of a rehearsal's cluster."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType

import httpx

from components.idle_scaling.versions import MANIFEST_FILES
from components.platforms.contract import PoolRequest
from infra.errors import LocalProblem
from infra.workspace import Paths
from lab.machine import certificates
from lab.machine.debian import SYSTEM_PATH
from lab.rehearsal import control, nodes
from lab.rehearsal.api import Api, Manifest, documents, has_condition, wait_for
from lab.rehearsal.control import Layout, Ports
from lab.rehearsal.process import Parts, end_stale, marked

_NODE_POOLS = "/apis/karpenter.sh/v1/nodepools"
_READY_SECONDS = 90.0
_ACT_SECONDS = 60.0
EMPTY_SECONDS = 20


class RehearsalCluster:
    """etcd, API server, controllers, scheduler and kwok as plain processes on loopback, with one roomy node for all
    that is not a model; with ``karpenter`` also the autoscaler that adds GPU nodes from zero.

    ``root`` is the cluster's own folder: ``start`` empties it, ``stop`` leaves it with the logs. The cluster takes
    about 10 s to start and 1 GB of memory, needs the programs of ``go_programs.build_rehearsal`` and listens on
    127.0.0.1 alone.
    """

    def __init__(self, root: Path, paths: Paths) -> None:
        self._at = Layout(root.absolute(), paths.cache, Ports.free())
        self._parts = Parts(self._at.root, self._at.logs)
        self._api: Api | None = None

    @property
    def kubeconfig(self) -> Path:
        """Return the administrator's kubeconfig, which contains a client certificate."""
        return self._at.kubeconfig(control.ADMIN)

    @property
    def server(self) -> str:
        """Return ``https://127.0.0.1:PORT``."""
        return self._at.server

    @property
    def certificate(self) -> Path:
        """Return the administrator's client certificate; ``key`` and ``authority`` go with it."""
        return self._at.pki / f"{control.ADMIN}.crt"

    @property
    def key(self) -> Path:
        return self._at.pki / f"{control.ADMIN}.key"

    @property
    def authority(self) -> Path:
        return self._at.pki / "ca.crt"

    @property
    def logs(self) -> Path:
        return self._at.logs

    @property
    def api(self) -> Api:
        """Return a client of the running cluster. Raises ``LocalProblem`` when it does not run."""
        if self._api is None:
            raise LocalProblem("the rehearsal's cluster is not running", "start it first")
        return self._api

    def pids(self) -> dict[str, int]:
        """Return the running programs' pids by name."""
        return self._parts.pids()

    def start(
        self, *, karpenter: bool = False, pools: Sequence[PoolRequest] = (), empty_seconds: int = EMPTY_SECONDS
    ) -> None:
        """Start the cluster and return when pods are scheduled and run. With ``karpenter`` the autoscaler can buy for
        ``pools``, and removes nodes that were empty for ``empty_seconds``. Processes that an earlier rehearsal left,
        here or anywhere on this machine, are ended first. On an error nothing keeps running."""
        self._parts.refuse_company()
        end_stale()
        try:
            self._prepare()
            self._start_control_plane()
            if karpenter:
                self.start_karpenter(pools, empty_seconds=empty_seconds)
        except BaseException:
            self.stop()
            raise

    def _prepare(self) -> None:
        at = self._at
        shutil.rmtree(at.root, ignore_errors=True)
        at.logs.mkdir(parents=True)
        at.root.chmod(0o700)
        if not at.module_stages.exists():
            raise LocalProblem(f"{at.module_stages} is missing", "build its programs first (build_rehearsal)")
        certificates.ensure(at.pki, control.certificates())
        for file, text in control.files(at).items():
            Path(file).write_text(text)

    def _start_control_plane(self) -> None:
        at = self._at
        etcd = shutil.which("etcd", path=SYSTEM_PATH)
        if etcd is None:
            raise LocalProblem("etcd is missing", "install the system package etcd-server, then run it again")
        self._parts.start(control.etcd(at, etcd))
        self._parts.start(control.api_server(at))
        self._api = api = Api(self.kubeconfig)
        self.wait(lambda: api.healthy(), "the API server to be ready", _READY_SECONDS)
        for part in control.deciders(at):
            self._parts.start(part)
        account = "/api/v1/namespaces/default/serviceaccounts/default"
        self.wait(lambda: api.get(account), "the controllers to act", _ACT_SECONDS)
        self.add_node(nodes.SYSTEM_NODE)

    def add_node(
        self, name: str, resources: Mapping[str, str] | None = None, labels: Mapping[str, str] | None = None
    ) -> None:
        """Add a node that exists without demand; return when it is ready and takes pods. ``resources`` come besides 64
        CPUs and 256 GiB, such as ``{"nvidia.com/gpu": "8"}``."""
        self.api.create(nodes.node(name, resources, labels))
        path = f"/api/v1/nodes/{name}"
        self.wait(lambda: takes_pods(self.api.get(path)), f"the node {name} to be ready", _ACT_SECONDS)

    def install_kinds(self) -> None:
        """Install the kinds of KEDA, its HTTP add-on and Karpenter, from the packages that carry them. Nothing acts on
        them here; their objects are only checked and kept."""
        keda = [self._at.keda_manifests / file for file in MANIFEST_FILES]
        for file in (*keda, self._at.karpenter_kinds):
            if not file.exists():
                raise LocalProblem(f"{file} is missing", "run `ebbtide local up` once: it renders it")
            self.api.apply_kinds(documents(file.read_text()))

    def start_karpenter(self, pools: Iterable[PoolRequest], *, empty_seconds: int = EMPTY_SECONDS) -> None:
        """Start the autoscaler, buying for ``pools`` and no others: apply their NodePools and write their machines for
        it. A further call restarts it, because it reads the machines once."""
        at, requests = self._at, list(pools)
        self._parts.end("karpenter-kwok")
        at.instance_types.write_text(json.dumps(nodes.instance_types(requests), indent=1))
        self.api.apply_kinds(documents(at.karpenter_kinds.read_text()))
        self.api.apply(nodes.node_class())
        for node_pool in self.api.items(_NODE_POOLS):
            if node_pool["metadata"]["name"] not in {request.pool.name for request in requests}:
                self.api.delete(f"{_NODE_POOLS}/{node_pool['metadata']['name']}")
        for request in requests:
            self.api.apply(nodes.node_pool(request, empty_seconds=empty_seconds))
        self._parts.start(control.karpenter(at))
        self.wait(self._karpenter_is_ready, "Karpenter to be ready", _ACT_SECONDS)
        for request in requests:
            self._wait_for_pool(request.pool.name)

    def _wait_for_pool(self, name: str) -> None:
        path = f"{_NODE_POOLS}/{name}"
        self.wait(lambda: has_condition(self.api.get(path), "Ready"), f"the NodePool {name} to be ready", _ACT_SECONDS)

    def _karpenter_is_ready(self) -> bool:
        return httpx.get(f"http://127.0.0.1:{self._at.ports.karpenter_health}/readyz", trust_env=False).is_success

    def wait(self, ready: Callable[[], object], what: str, seconds: float) -> None:
        """Wait as ``api.wait_for``, but raise at once, with its log, when one of the programs has ended."""
        wait_for(ready, what, seconds, self._parts.refuse_dead)

    def stop(self) -> None:
        """End exactly what ``start`` started; the folder stays, for its logs. Safe when nothing runs."""
        if self._api is not None:
            self._api.close()
            self._api = None
        self._parts.end_all()

    def __enter__(self) -> RehearsalCluster:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def left(self) -> list[int]:
        """Return the pids of this folder's processes that still run."""
        return [each.process.pid for each in marked() if each.root == self._at.root]


def takes_pods(node: Manifest | None) -> bool:
    """Return True if the node is ready and has lost the taints it carries until the controllers have registered it."""
    if node is None:
        return False
    waiting = {taint["key"] for taint in node["spec"].get("taints") or ()}
    return has_condition(node, "Ready") and not waiting & {"node.kubernetes.io/not-ready", "karpenter.sh/unregistered"}
