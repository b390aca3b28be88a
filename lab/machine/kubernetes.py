"""Start of the lab's Kubernetes from whatever state it was left in, and its end without a trace."""

from __future__ import annotations

import json
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx
import yaml

from infra.errors import LocalProblem
from infra.workspace import Paths
from lab import build_stamps
from lab.machine import certificates, control_plane, coredns, kernel_settings, namespaces, network_policies
from lab.machine.control_plane import GPU, NODE_PORT_GATEWAY, NODES, Layout
from lab.machine.debian import SYSTEM_PATH
from lab.machine.namespaces import ProcessId
from lab.toolchain import images

GPUS = 2  # advertised to the scheduler; they do not exist
API_SECONDS = 120.0
NODES_SECONDS = 180.0


@dataclass(frozen=True)
class Ports:
    """Ports ("doors") on the host's loopback."""

    api: int = 16443
    registry: int = 5000
    gateway: int = 4000


PORTS = Ports()


def layout(paths: Paths) -> Layout:
    return Layout(
        programs=paths.bin,
        pki=paths.cluster / "pki",
        data=paths.cluster,
        logs=paths.logs,
        registry_data=paths.registry,
        registry_port=PORTS.registry,
        sandbox_image=f"127.0.0.1:{PORTS.registry}/ebbtide/pause:1",
    )


def start(paths: Paths) -> None:
    """Make the machine and open its doors; return when the API server answers.

    A machine that runs already is kept, unless its parts or their settings are of another version.
    """
    at = layout(paths)
    certificates.ensure(at.pki, control_plane.certificates())
    key = build_stamps.key(control_plane.files(at), _spec_without_keys(at))
    stamp = paths.state / "machine.stamp"
    if namespaces.running(paths) and not build_stamps.is_done(stamp, key):
        stop(paths)  # its parts or their settings are of another version
    if not namespaces.running(paths):
        paths.logs.mkdir(parents=True, exist_ok=True, mode=0o700)
        paths.registry.mkdir(parents=True, exist_ok=True)
        _write_private(control_plane.files(at))
        kernel_settings.remember(paths.state)
        namespaces.start(control_plane.machine_spec(at), paths)
        build_stamps.mark_done(stamp, key)
    _write_private(
        {
            str(paths.kubeconfig): yaml.safe_dump(
                control_plane.kubeconfig(at.pki, "admin", f"https://127.0.0.1:{PORTS.api}")
            )
        }
    )
    open_doors(paths)
    _wait_for_api(paths)


def _spec_without_keys(at: Layout) -> str:
    return json.dumps(control_plane.machine_spec(at), sort_keys=True)


def _write_private(files: dict[str, str]) -> None:
    for name, text in files.items():
        file = Path(name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode=0o600)
        file.write_text(text)


def _forwarder_pid(paths: Paths) -> Path:
    return paths.state / "forwarder.pid"


def open_doors(paths: Paths) -> None:
    """Start the forwarder unless one runs that belongs to this very machine."""
    first = namespaces.running(paths)
    assert first is not None
    belongs = paths.state / "forwarder.machine"
    running = ProcessId.load(_forwarder_pid(paths))
    if running and belongs.exists() and belongs.read_text() == str(first):
        return
    doors = {
        PORTS.api: f"{control_plane.CONTROL_ADDRESS}:{control_plane.API_PORT}",
        PORTS.registry: f"127.0.0.1:{PORTS.registry}",
        PORTS.gateway: f"{control_plane.CONTROL_ADDRESS}:{NODE_PORT_GATEWAY}",
    }
    refuse_occupied_ports(paths)
    log = paths.logs / "forwarder.log"
    with log.open("w") as out:
        process = subprocess.Popen(
            # fmt: off
            [
                sys.executable,
                "-I",
                str(Path(__file__).with_name("forwarder.py")),
                str(paths.state),
                str(first.pid),
                *(f"{port}={target}" for port, target in doors.items()),
            ],
            # fmt: on
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            cwd="/",
            env={"PATH": SYSTEM_PATH},
        )
    me = ProcessId.of(process.pid)
    if me:
        me.save(_forwarder_pid(paths))
    belongs.write_text(str(first))
    deadline = time.monotonic() + 10
    while "ready" not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            raise LocalProblem("the doors to the cluster did not open", "see the log, then run `make local` again", log)
        time.sleep(0.02)


def refuse_occupied_ports(paths: Paths) -> None:
    """Raise ``LocalProblem`` for a door that another program holds. A forwarder of ours whose pid was lost is ended
    first."""
    _end_stray_forwarders(paths)
    for port in (PORTS.api, PORTS.registry, PORTS.gateway):
        _refuse_occupied(port)


def _end_stray_forwarders(paths: Paths) -> None:
    for stray in namespaces.strays("forwarder.py", str(paths.state)):
        stray.end(5)


def _refuse_occupied(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise LocalProblem(
                f"127.0.0.1:{port} is taken by another program ({error.strerror})",
                f"end that program (`ss -ltnp 'sport = :{port}'` names it), then run `make local` again",
            ) from None


def api_client(paths: Paths) -> httpx.Client:
    pki = layout(paths).pki
    context = ssl.create_default_context(cafile=str(pki / "ca.crt"))
    context.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    return httpx.Client(base_url=f"https://127.0.0.1:{PORTS.api}", verify=context, timeout=10, trust_env=False)


def api_ready(paths: Paths) -> bool:
    try:
        with api_client(paths) as client:
            return client.get("/readyz").status_code == 200
    except (httpx.HTTPError, OSError):
        return False


def _wait(what: str, seconds: float, check: Callable[[], bool], log: Path, paths: Paths) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        if namespaces.running(paths) is None:
            raise LocalProblem(
                "the lab machine ended",
                "see the log, then run `make local` again",
                paths.logs / "machine.log",
            )
        if time.monotonic() > deadline:
            raise LocalProblem(f"{what} not within {seconds:.0f} s", "see the log, then run `make local` again", log)
        time.sleep(0.25)


def _wait_for_api(paths: Paths) -> None:
    log = paths.logs / "kube-apiserver.log"
    _wait("the API server is ready:", API_SECONDS, lambda: api_ready(paths), log, paths)


def kubectl(paths: Paths, *args: str, stdin: str | None = None, check: bool = True) -> str:
    """Run kubectl on the local cluster and return its output. Raises ``LocalProblem`` with kubectl's own words when it
    fails, unless ``check`` is False."""
    argv = [str(paths.bin / "kubectl"), "--kubeconfig", str(paths.kubeconfig), *args]
    try:
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, check=False)
    except OSError:
        raise LocalProblem(
            f"the kubectl program is not there ({argv[0]})", "run `ebbtide local up`: it builds it"
        ) from None
    if check and done.returncode != 0:
        raise LocalProblem(f"kubectl {' '.join(args)}: {done.stderr.strip()}", "see the message above")
    return done.stdout


def furnish(paths: Paths, platform_image: str) -> None:
    """Add what a bare API server lacks: names (CoreDNS), the rights of what enforces NetworkPolicies and, on the GPU
    node, the advertised GPUs. Returns when both nodes are Ready."""
    kubectl(
        paths,
        "apply",
        "--server-side",
        "--force-conflicts",
        "-f",
        "-",
        stdin=f"{network_policies.manifests()}---\n{coredns.manifests(platform_image)}",
    )
    _wait(
        "nodes Ready:",
        NODES_SECONDS,
        lambda: nodes_ready(paths),
        paths.logs / f"kubelet-{GPU.name}.log",
        paths,
    )
    advertise_gpus(paths)


def nodes_ready(paths: Paths) -> bool:
    listed = json.loads(kubectl(paths, "get", "nodes", "-o", "json", check=False) or '{"items": []}')
    ready = {
        node["metadata"]["name"]
        for node in listed["items"]
        for condition in node["status"].get("conditions", [])
        if condition["type"] == "Ready" and condition["status"] == "True"
    }
    return {node.name for node in NODES} <= ready


def advertise_gpus(paths: Paths) -> None:
    """Advertise an extended resource that no device plugin owns: the scheduler counts it, nothing backs it."""
    capacity = {"nvidia.com/gpu": str(GPUS)}
    patch = json.dumps({"status": {"capacity": capacity, "allocatable": capacity}})
    kubectl(paths, "patch", "node", GPU.name, "--subresource=status", "--type=merge", "-p", patch)


def stop(paths: Paths) -> None:
    """End everything that runs; the cluster's data stays."""
    _end_stray_forwarders(paths)
    for name in ("forwarder.pid", "forwarder.machine"):
        (paths.state / name).unlink(missing_ok=True)
    namespaces.stop(paths)
    kernel_settings.restore(paths.state)
    images.release_mounts(paths)


def purge(paths: Paths) -> None:
    """Delete the state (never the cache)."""
    shutil.rmtree(paths.state, ignore_errors=True)
