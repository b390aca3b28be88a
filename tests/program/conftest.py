"""A real API server and a real engine for tests of the program and of the stand-in plugins."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from kubernetes import client
from kubernetes.config import kube_config

from infra.workspace import paths
from lab.plugins import install

TOKEN = "token-of-the-test-cluster"
# a cloud's SDK takes seconds to import, and its whole graph seconds to record: not in the first minute
WITH_AN_SDK = re.compile(
    r"test_(aws|azure|gcp)_|test_graph_(stacks|wire_types|command)|test_(plan_page|deployer_rights|standing_parts)"
)
CLOUD = re.compile(r"(?<![a-z])(aws|azure|gcp|google)(?![a-z])")
READY_SECONDS = 90


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """With several workers, the tests of one cloud run in one of them: no second imports its SDK or records its stacks
    again."""
    for item in items:
        if Path(__file__).parent in item.path.parents and WITH_AN_SDK.match(item.path.name):
            item.add_marker(pytest.mark.slow)
            # of all stacks' tests each names its stack in its parameters
            if cloud := CLOUD.search(f"{item.path.stem} {item.name}"):
                item.add_marker(pytest.mark.xdist_group(f"sdk of {cloud[1]}".replace("google", "gcp")))


def tool(name: str) -> str:
    """The path of a program the tests need; a missing one is a failure, never a skip."""
    program = shutil.which(name, path=f"{paths().bin}:{os.environ['PATH']}")
    if program is None:
        pytest.fail(f"{name} is missing from {paths().bin} and PATH: run `make local` or `ebbtide local tools` first")
    return program


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens on, from 7000 to 7999; two workers at once begin far apart."""
    ports: list[int] = []
    offset = os.getpid() * 16
    for port in (7000 + (offset + n) % 1000 for n in range(1000)):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) and len(ports) < count:
                ports.append(port)
    return ports


@dataclass
class ApiServer:
    """etcd, kube-apiserver and the controllers, without nodes: pods stay pending for ever."""

    root: Path
    kubeconfig: Path = field(init=False)
    server: str = field(init=False)
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        etcd_port, peer_port, port, controller_port = free_ports(4)
        self.server, self.kubeconfig = f"https://127.0.0.1:{port}", self.root / "kubeconfig"
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        key_file = self.root / "service-accounts.key"
        key_file.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        (self.root / "tokens.csv").write_text(f"{TOKEN},admin,1,system:masters\n")
        self.kubeconfig.write_text(yaml.safe_dump(self.config()))
        self._run(
            tool("etcd"), f"--data-dir={self.root}/etcd", "--unsafe-no-fsync", "--log-level=error",
            f"--listen-client-urls=http://127.0.0.1:{etcd_port}", f"--listen-peer-urls=http://127.0.0.1:{peer_port}",
            f"--advertise-client-urls=http://127.0.0.1:{etcd_port}",
        )  # fmt: skip
        self._run(
            tool("kube-apiserver"), f"--etcd-servers=http://127.0.0.1:{etcd_port}", f"--secure-port={port}",
            "--bind-address=127.0.0.1", f"--cert-dir={self.root}/certs", f"--token-auth-file={self.root}/tokens.csv",
            "--service-account-issuer=https://test", f"--service-account-signing-key-file={key_file}",
            f"--service-account-key-file={key_file}", "--service-cluster-ip-range=10.95.0.0/16",
            "--authorization-mode=RBAC", "--endpoint-reconciler-type=none",
        )  # fmt: skip
        certificate = self.root / "certs" / "apiserver.crt"
        self.wait(certificate.exists, "the API server to write its certificate")
        self.wait(lambda: self.api().call("GET", "/readyz") is not None, "the API server to be ready")
        self._run(
            tool("kube-controller-manager"), f"--kubeconfig={self.kubeconfig}", f"--secure-port={controller_port}",
            "--bind-address=127.0.0.1", f"--cert-dir={self.root}/certs", "--leader-elect=false",
            f"--service-account-private-key-file={key_file}", "--concurrent-gc-syncs=4",
            "--controllers=namespace,garbagecollector,deployment,replicaset,serviceaccount,job,endpointslice",
        )  # fmt: skip
        self.wait(
            lambda: self.api().call("GET", "/api/v1/namespaces/default/serviceaccounts/default") is not None,
            "the controllers to act",
        )

    def config(self, server: str | None = None) -> dict[str, Any]:
        return {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [
                {
                    "name": "c",
                    "cluster": {
                        "server": server or self.server,
                        "certificate-authority": str(self.root / "certs" / "apiserver.crt"),
                    },
                }
            ],
            "users": [{"name": "u", "user": {"token": TOKEN}}],
            "contexts": [{"name": "test", "context": {"cluster": "c", "user": "u"}}],
        }

    def _run(self, *command: str) -> None:
        log = (self.root / f"{Path(command[0]).name}.log").open("wb")
        self.processes.append(
            subprocess.Popen(command, cwd=self.root, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        )

    def api(self) -> Api:
        return Api(self.config())

    def wait(self, ready: Any, what: str, seconds: float = READY_SECONDS) -> None:
        """Poll until ``ready`` answers true; fails with the ends of the logs when a process died."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if any(process.poll() is not None for process in self.processes):
                break
            try:
                if ready():
                    return
            except OSError:
                pass
            time.sleep(0.05)
        logs = [f"{log.name}: {log.read_text()[-1500:]}" for log in self.root.glob("*.log")]
        pytest.fail(f"waited in vain for {what}\n" + "\n".join(logs))

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in reversed(self.processes):
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


class Api:
    """A second pair of eyes on the cluster, and a second hand: nothing of the code under test is in it."""

    def __init__(self, config: dict[str, Any]) -> None:
        configuration = client.Configuration()
        kube_config.load_kube_config_from_dict(config, client_configuration=configuration, persist_config=False)
        configuration.retries = False
        self._api = client.ApiClient(configuration)

    def call(
        self, method: str, path: str, body: Any = None, content: str = "application/json"
    ) -> dict[str, Any] | None:
        """The answer, or None for 404; any other refusal is an error."""
        import urllib3

        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": content}
        try:
            answer = self._api.rest_client.pool_manager.request(
                method, self._api.configuration.host + path, body=json.dumps(body) if body else None, headers=headers
            )
        except urllib3.exceptions.HTTPError as error:
            raise ConnectionError(str(error)) from None
        if answer.status == 404:
            return None
        if answer.status >= 400:
            raise ConnectionError(f"{method} {path}: {answer.status} {answer.data[:300]!r}")
        return json.loads(answer.data) if answer.data.startswith(b"{") else {"text": answer.data.decode()}

    def merge(self, path: str, body: dict[str, Any], manager: str = "somebody-else") -> dict[str, Any] | None:
        """Change an object as another manager would."""
        return self.call("PATCH", f"{path}?fieldManager={manager}", body, "application/merge-patch+json")


@pytest.fixture(scope="session")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One real control plane for all tests; each test takes a namespace of its own."""
    server = ApiServer(tmp_path_factory.mktemp("control-plane"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
def api(api_server: ApiServer) -> Api:
    return api_server.api()


@dataclass
class Outcome:
    """What one run of the engine gave."""

    code: int
    output: str
    seconds: float

    def __post_init__(self) -> None:
        self.output = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", self.output)


def engine_environment(root: Path, kubeconfig: Path) -> dict[str, str]:
    """The engine's environment: plugins, state and home below ``root``, and nothing of the user's own Pulumi."""
    home = root / "home"
    home.mkdir(exist_ok=True)
    # the engine logs every value it handles to a folder of that name, with two fifths of its processor time; it goes
    # without where the folder cannot be made
    (home / "logs").touch()
    return {
        **{k: v for k, v in os.environ.items() if not k.startswith("PULUMI_")},
        "PATH": f"{root}/plugins:{os.environ['PATH']}",
        "PULUMI_HOME": str(home),
        "PULUMI_BACKEND_URL": f"file://{root}/state",
        "PULUMI_CONFIG_PASSPHRASE": "test",
        "PULUMI_SKIP_UPDATE_CHECK": "true",
        "PULUMI_DISABLE_AUTOMATIC_PLUGIN_ACQUISITION": "true",
        "KUBECONFIG": str(kubeconfig),
        "GOGC": "400",  # its heap is small: a fifth of its time goes to collecting it
    }


class Project:
    """A Pulumi project in a folder of its own, run by the real engine through the stand-in plugins."""

    def __init__(self, root: Path, kubeconfig: Path | None) -> None:
        self.root, self.kubeconfig = root, kubeconfig
        self.plugins = root / "plugins"
        install(self.plugins, Path(sys.executable))
        (root / "state").mkdir()
        (root / "Pulumi.yaml").write_text("name: probe\nruntime: python\nmain: program\n")
        (root / "program").mkdir()
        self.env = engine_environment(root, kubeconfig or root / "no-kubeconfig")
        self.run("stack", "init", "test")

    def program(self, text: str) -> None:
        """What the program is from now on; ``pulumi`` and ``k8s`` are imported, ``provider`` is the cluster."""
        head = "import pulumi\nimport pulumi_kubernetes as k8s\n"
        (self.root / "program" / "__main__.py").write_text(head + textwrap.dedent(text))

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [tool("pulumi"), *arguments, "--non-interactive", "--color=never"], cwd=self.root, env=self.env, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL,
        )  # fmt: skip

    def run(self, *arguments: str, fails: bool = False, seconds: float = 120) -> Outcome:
        """Run the engine; ``fails`` says which end is the right one."""
        began = time.monotonic()
        process = self.start(*arguments)
        try:
            output, _ = process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=30)
            pytest.fail(f"pulumi {' '.join(arguments)} took more than {seconds} s:\n{output}")
        outcome = Outcome(process.returncode, output, time.monotonic() - began)
        assert bool(outcome.code) == fails, f"pulumi {' '.join(arguments)} ended with {outcome.code}:\n{output}"
        return outcome

    def up(self, *more: str, fails: bool = False) -> Outcome:
        return self.run("up", "--yes", "--skip-preview", "--stack=test", *more, fails=fails)

    def preview(self, *more: str, fails: bool = False) -> Outcome:
        return self.run("preview", "--diff", "--stack=test", *more, fails=fails)

    def refresh(self, *more: str) -> Outcome:
        return self.run("refresh", "--yes", "--skip-preview", "--stack=test", *more)

    def destroy(self, *more: str) -> Outcome:
        return self.run("destroy", "--yes", "--skip-preview", "--stack=test", *more)

    def state(self) -> str:
        """The state file as it lies on the disk."""
        return "".join(path.read_text() for path in (self.root / "state").rglob("stacks/**/test.json"))

    def resources(self) -> list[dict[str, Any]]:
        deployment = json.loads(self.run("stack", "export", "--stack=test").output)["deployment"]
        resources: list[dict[str, Any]] = deployment.get("resources") or []
        return resources


@pytest.fixture
def project(tmp_path: Path, api_server: ApiServer) -> Project:
    """A project on the test cluster, which is thrown away as a whole; a test takes names of its own."""
    return Project(tmp_path, api_server.kubeconfig)


@pytest.fixture
def lone_project(tmp_path: Path) -> Project:
    """A project without any cluster."""
    return Project(tmp_path, None)
