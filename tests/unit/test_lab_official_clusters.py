"""What kind and a user's own cluster are told, and what the latter lacks. Neither Docker nor a cluster is asked."""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra import kube_client
from infra.errors import LocalProblem
from infra.workspace import Paths
from lab import docker, gpu_nodes
from lab.clusters import context as context_cluster
from lab.clusters import kind as kind_cluster
from lab.clusters import selection
from lab.clusters.choice import Choice, ClusterOptions
from lab.clusters.context import ContextCluster, facts, missing
from lab.clusters.kind import KIND, NODE_IMAGE, KindCluster
from lab.clusters.lab import LabCluster
from lab.machine import certificates, control_plane, kubernetes
from lab.toolchain.go_programs import MODULES


def node(name: str, gpus: int = 0, address: str | None = "10.0.0.1", control_plane: bool = False) -> dict[str, Any]:
    return {
        "metadata": {"name": name, "labels": {gpu_nodes.CONTROL_PLANE: ""} if control_plane else {}},
        "status": {
            "allocatable": {gpu_nodes.GPU: str(gpus)} if gpus else {"cpu": "2"},
            "addresses": [{"type": "InternalIP", "address": address}] if address else [],
        },
    }


@pytest.fixture
def at(tmp_path: Path) -> Paths:
    return Paths(tmp_path / "cache", tmp_path / "state")


def test_each_choice_has_its_cluster(at: Paths) -> None:
    (at.state).mkdir()
    assert isinstance(selection.recorded(at), LabCluster)
    assert isinstance(selection.cluster_of(Choice("kind"), at), KindCluster)
    Choice("context", ClusterOptions(context="mine")).save(at)
    assert selection.recorded(at) == ContextCluster(at, ClusterOptions(context="mine"))


def test_docker_without_kinds_node_image_is_no_place_for_kind(at: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EBBTIDE_CLUSTER", raising=False)
    monkeypatch.setattr(docker, "has", lambda kind, name: False)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("sys.platform", "linux")
    assert selection.find(at, ClusterOptions(), docker_answers=True, images=False).kind == "lab"
    assert selection.find(at, ClusterOptions(), docker_answers=True, images=True).kind == "kind"
    monkeypatch.setattr(docker, "has", lambda kind, name: name == NODE_IMAGE)
    assert selection.find(at, ClusterOptions(), docker_answers=True, images=False).kind == "kind"


def test_kind_opens_the_gateways_door_on_loopback_and_shows_both_nodes_the_weights() -> None:
    config = yaml.safe_load(kind_cluster.config(Path("/cache/models")))
    assert [each["role"] for each in config["nodes"]] == ["control-plane", "worker"]
    assert config["nodes"][0]["extraPortMappings"] == [
        {"containerPort": 30400, "hostPort": 4000, "listenAddress": "127.0.0.1", "protocol": "TCP"}
    ]
    for each in config["nodes"]:
        assert each["extraMounts"] == [
            {"hostPath": "/cache/models", "containerPath": "/cache/models", "readOnly": True}
        ]
        assert "@sha256:" in each["image"]


def test_the_registry_listens_on_loopback_alone_and_writes_as_the_user() -> None:
    argv = kind_cluster.run_registry(Path("/cache/registry"), "1000:1000")
    assert argv[argv.index("--publish") + 1] == "127.0.0.1:5000:5000"
    assert argv[argv.index("--user") + 1] == "1000:1000"
    assert "@sha256:" in argv[-1]


def test_kinds_nodes_find_the_registry_by_the_name_that_images_have_here() -> None:
    folder, text = kind_cluster.hosts_toml()
    assert folder == "/etc/containerd/certs.d/127.0.0.1:5000"
    assert text == '[host."http://ebbtide-registry:5000"]\n'


def test_the_node_image_is_of_the_labs_kubernetes_and_kind_is_pinned() -> None:
    assert NODE_IMAGE.startswith("kindest/node:v1.34.")
    pinned = (MODULES / KIND.module / "go.mod").read_text()
    assert "sigs.k8s.io/kind v0.30.0" in pinned
    assert "sigs.k8s.io/kind v0.30.0 h1:" in (MODULES / KIND.module / "go.sum").read_text()


def test_an_installed_kind_is_not_built(at: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: f"/usr/bin/{name}")
    assert [p.name for p in KindCluster(at).programs()] == ["kubectl"]
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert [p.name for p in KindCluster(at).programs()] == ["kubectl", "kind"]


class Machine:
    """Docker, kind and kubectl as far as `KindCluster` asks them; what it did is in ``done``."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.containers: dict[str, dict[str, Any]] = {}
        self.ready = False
        monkeypatch.setattr(docker, "has", lambda kind, name: name in self.containers)
        monkeypatch.setattr(docker, "docker", self.docker)
        monkeypatch.setattr(kind_cluster, "run_logged", self.kind)
        monkeypatch.setattr("shutil.which", lambda name: f"/bin/{name}")
        monkeypatch.setattr(Path, "exists", lambda path: True if str(path) == "/bin/kind" else path.is_file())
        monkeypatch.setattr(kubernetes, "kubectl", self.kubectl)

    def docker(self, *args: str, stdin: str | None = None) -> str:
        self.done.append(" ".join(args[:2]) if args[0] != "exec" else f"exec {args[2]} {stdin}")
        if args[0] == "run":
            self.containers["ebbtide-registry"] = {"State": {"Running": True}, "NetworkSettings": {"Networks": {}}}
        if args[:2] == ("network", "connect"):
            self.containers["ebbtide-registry"]["NetworkSettings"]["Networks"]["kind"] = {}
        if args[0] == "rm":
            del self.containers[args[2]]
        return json.dumps([self.containers.get("ebbtide-registry")])

    def kind(self, argv: list[str], log: Path, *, fix: str) -> None:
        self.done.append(f"kind {argv[1]}")
        names = ("ebbtide-control-plane", "ebbtide-worker")
        for name in names:
            self.containers.pop(name, None)
        self.ready = argv[1] == "create"
        if self.ready:
            self.containers |= {name: {} for name in names}

    def kubectl(self, at: Paths, *args: str, stdin: str | None = None, check: bool = True) -> str:
        if "--raw=/readyz" in args:
            return "ok" if self.ready else ""
        if args[:2] == ("get", "nodes"):
            return json.dumps({"items": [node("ebbtide-control-plane", control_plane=True), node("ebbtide-worker")]})
        self.done.append(" ".join(args))
        return ""


def test_kind_is_made_once_and_again_only_when_it_does_not_answer(at: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    at.state.mkdir(parents=True)
    machine = Machine(monkeypatch)
    KindCluster(at).start()
    script = 'exec {} [host."http://ebbtide-registry:5000"]\n'
    tell = [script.format("ebbtide-control-plane"), script.format("ebbtide-worker")]
    assert machine.done == ["kind create", "run --detach", "network connect", *tell]
    machine.done.clear()
    KindCluster(at).start()
    assert machine.done == ["container inspect", *tell]
    machine.done.clear()
    machine.ready = False
    KindCluster(at).start()
    assert machine.done[:2] == ["kind delete", "kind create"]


def test_down_deletes_the_nodes_and_the_registry_and_nothing_when_there_is_nothing(
    at: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    at.state.mkdir(parents=True)
    machine = Machine(monkeypatch)
    KindCluster(at).stop()
    assert machine.done == []
    KindCluster(at).start()
    machine.containers["somebody-elses"] = {}
    KindCluster(at).stop()
    assert machine.done[-2:] == ["kind delete", "rm --force"]
    assert list(machine.containers) == ["somebody-elses"]


def test_the_digest_is_that_of_the_registry_pushed_to() -> None:
    digests = ["other.example/keda@sha256:11", "127.0.0.1:5000/ebbtide/keda@sha256:22"]
    inspected = json.dumps([{"RepoDigests": digests}])
    assert docker.digest_of(inspected, "127.0.0.1:5000/ebbtide/keda") == "127.0.0.1:5000/ebbtide/keda@sha256:22"
    with pytest.raises(LocalProblem, match="names no digest"):
        docker.digest_of(json.dumps([{"RepoDigests": None}]), "127.0.0.1:5000/ebbtide/keda")


def test_everything_a_context_lacks_is_told_at_once() -> None:
    lacks = missing(
        ClusterOptions(context="mine"), [node("a", address=None), node("b", address=None)], docker_answers=False
    )
    assert lacks == [
        "--registry host[:port]/prefix (or EBBTIDE_REGISTRY): where images go, from here and there",
        "--models-dir /folder (or EBBTIDE_MODELS_DIR): where the GPU nodes have the weights",
        "--gpu-node NAME: no node offers nvidia.com/gpu by itself; nodes: a, b",
        "--gateway-url URL (or EBBTIDE_GATEWAY_URL): no node has an address to reach its node port at",
        "a running Docker: it builds and pushes the images",
    ]


def test_a_gpu_node_that_does_not_exist_is_refused_with_those_that_do() -> None:
    lacks = missing(
        ClusterOptions(context="mine", registry="r/x", gpu_nodes=("nope",), models_dir="/m"),
        [node("a"), node("b", gpus=1)],
        docker_answers=True,
    )
    assert lacks == ["--gpu-node nope: there is no such node; nodes: a, b"]


def test_a_context_that_lacks_nothing_is_not_refused_and_takes_the_nodes_with_gpus(at: Paths) -> None:
    wished, nodes_there = (
        ClusterOptions(context="mine", registry="r/x", gpu_nodes=(), models_dir="/m"),
        [node("a"), node("b", gpus=4, address="10.0.0.2")],
    )
    assert missing(wished, nodes_there, docker_answers=True) == []
    cluster = facts(wished, nodes_there, "r/x/keda@sha256:1", at)
    assert cluster.gpu_nodes == ("b",)
    assert (cluster.context, cluster.registry, cluster.models_dir) == ("mine", "r/x", "/m")
    assert cluster.gateway_url == "http://10.0.0.1:30400"
    assert cluster.base_images == {}


def test_what_the_user_says_of_nodes_and_gateway_wins(at: Paths) -> None:
    wished = ClusterOptions(
        context="mine", registry="r/x", gpu_nodes=("a",), models_dir="/m", gateway_url="http://llm.example.com"
    )
    cluster = facts(wished, [node("a"), node("b", gpus=4)], "r/x/keda@sha256:1", at)
    assert (cluster.gpu_nodes, cluster.gateway_url) == (("a",), "http://llm.example.com")


def test_an_external_address_comes_before_an_internal_one() -> None:
    both = node("a")
    both["status"]["addresses"].append({"type": "ExternalIP", "address": "192.0.2.1"})
    assert gpu_nodes.addresses([both, node("b", address=None)]) == ["192.0.2.1"]


def test_the_refusal_is_one_message_with_a_line_for_each_thing(at: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(context_cluster, "_nodes", lambda context: [node("a", gpus=1)])
    monkeypatch.setattr(docker, "answers", lambda: True)
    with pytest.raises(LocalProblem) as refused:
        ContextCluster(at, ClusterOptions(context="mine")).refuse()
    assert str(refused.value) == (
        "--context mine: these are missing\n"
        "  - --registry host[:port]/prefix (or EBBTIDE_REGISTRY): where images go, from here and there\n"
        "  - --models-dir /folder (or EBBTIDE_MODELS_DIR): where the GPU nodes have the weights\n"
        "  fix: give them all, then run `ebbtide local up` again"
    )
    ContextCluster(at, ClusterOptions(context="mine", registry="r/x", gpu_nodes=(), models_dir="/m")).refuse()


@pytest.fixture
def api() -> Iterator[tuple[str, list[str]]]:
    """A server that answers with the user's nodes; its address, and the authorization of each request."""
    headers: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers.append(self.headers.get("authorization", ""))
            body = json.dumps({"items": [node("a", gpus=1)]}).encode()
            self.send_response(200 if headers[-1] == "Bearer t0ken" else 401)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            """Nobody reads it."""

    with served(Answer) as port:
        yield f"http://127.0.0.1:{port}", headers


@contextmanager
def served(handler: type[BaseHTTPRequestHandler], tls: ssl.SSLContext | None = None) -> Iterator[int]:
    """A server on a free port of loopback, ended with the test."""
    server = HTTPServer(("127.0.0.1", 0), handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def kubeconfig(file: Path, server: str, token: str) -> Path:
    names = {"cluster": "mine", "user": "mine"}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "",
        "clusters": [{"name": "mine", "cluster": {"server": server}}],
        "users": [{"name": "mine", "user": {"token": token}}],
        "contexts": [{"name": "mine", "context": names}],
    }
    file.write_text(yaml.safe_dump(config))
    return file


def test_the_named_context_is_asked_with_its_own_credentials(api: tuple[str, list[str]], tmp_path: Path) -> None:
    file = kubeconfig(tmp_path / "config", api[0], "t0ken")
    with kube_client.client_of(str(file), "mine") as client:
        assert client.get("/api/v1/nodes").json()["items"][0]["metadata"]["name"] == "a"
    assert api[1] == ["Bearer t0ken"]


def test_a_client_certificate_is_shown_and_the_servers_is_checked(at: Paths) -> None:
    pki = at.state / "pki"
    certificates.ensure(pki, control_plane.certificates())
    demanding = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(pki / "ca.crt"))
    demanding.verify_mode = ssl.CERT_REQUIRED
    demanding.load_cert_chain(pki / "apiserver.crt", pki / "apiserver.key")
    names: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            names.append(str(dict(pair[0] for pair in self.connection.getpeercert()["subject"])["commonName"]))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, format: str, *args: Any) -> None:
            """Nobody reads it."""

    with served(Answer, demanding) as port:
        text = yaml.safe_dump(control_plane.kubeconfig(pki, "admin", f"https://127.0.0.1:{port}"))
        at.kubeconfig.write_text(text)
        assert kube_client.api_ready(at)
        assert names == ["ebbtide-admin"]
        other = at.state / "other"
        certificates.ensure(other, control_plane.certificates())
        at.kubeconfig.write_text(yaml.safe_dump(control_plane.kubeconfig(other, "admin", f"https://127.0.0.1:{port}")))
        assert not kube_client.api_ready(at)
        assert names == ["ebbtide-admin"]


def test_no_kubeconfig_is_no_cluster_that_answers(at: Paths) -> None:
    assert not kube_client.api_ready(at)
    with pytest.raises(LocalProblem, match="fix: run `ebbtide local up`"):
        kube_client.api_client(at)


def test_a_context_that_is_not_in_the_kubeconfig_is_refused_without_a_traceback(tmp_path: Path) -> None:
    file = kubeconfig(tmp_path / "config", "http://127.0.0.1:1", "t0ken")
    with pytest.raises(LocalProblem, match=r"kubeconfig, context other: .*other") as refused:
        kube_client.client_of(str(file), "other")
    assert "t0ken" not in str(refused.value)


def test_a_cluster_that_refuses_or_does_not_answer_is_told_by_its_context(
    api: tuple[str, list[str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = kube_client.client_of
    refusing = kubeconfig(tmp_path / "refusing", api[0], "wrong")
    monkeypatch.setattr(kube_client, "client_of", lambda _, context: ask(str(refusing), context))
    with pytest.raises(LocalProblem, match="--context mine: listing nodes answered 401"):
        context_cluster._nodes("mine")
    silent = kubeconfig(tmp_path / "silent", "http://127.0.0.1:1", "t0ken")
    monkeypatch.setattr(kube_client, "client_of", lambda _, context: ask(str(silent), context))
    with pytest.raises(LocalProblem, match="--context mine: no answer"):
        context_cluster._nodes("mine")
