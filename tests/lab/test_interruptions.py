"""The local stack after the worst has happened to it, and what is left when it is told to go."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx

from infra.workspace import PROJECT, Paths
from lab import readiness
from lab.machine import kubernetes, namespaces
from lab.machine.namespaces import ProcessId
from tests.lab.conftest import FIRST, Lab, wait_until

EBBTIDE = str(Path(sys.executable).with_name("ebbtide"))


def ebbtide(*args: str, check: bool = True) -> str:
    done = subprocess.run([EBBTIDE, *args], cwd=PROJECT, capture_output=True, text=True, timeout=900, check=False)
    assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "Traceback" not in done.stdout + done.stderr
    return done.stdout + done.stderr


def members(at: Paths) -> set[ProcessId]:
    """Every process that lives in the machine, whatever its name, as the host counts it."""
    first = namespaces.running(at)
    assert first is not None
    space = os.readlink(f"/proc/{first.pid}/ns/pid")
    processes: set[ProcessId] = set()
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if (
                entry.name.isdigit()
                and os.readlink(entry / "ns/pid") == space
                and (one := ProcessId.of(int(entry.name)))
            ):
                processes.add(one)
    return processes


def host(at: Paths) -> dict[str, set[str]]:
    """Everything of the host that a cluster could leave something in. Programs of the user's own are none of ours: a
    process counts that names the state folder."""

    def lines(*argv: str) -> set[str]:
        return set(subprocess.run(argv, capture_output=True, text=True, check=True).stdout.splitlines())

    processes = {line for line in lines("ps", "-ww", "-eo", "pid=,args=") if str(at.state) in line}
    return {
        "processes": processes,
        "mounts": lines("cat", "/proc/self/mounts"),
        "devices": {re.sub(r"^\d+: ", "", line) for line in lines("ip", "-brief", "link")},
        "firewall": {line for line in lines("iptables-save") if not line.startswith("#") and "[" not in line},
        "cgroups": set(map(str, namespaces.cgroups_left())),
        "settings": {
            Path(name).read_text()
            for name in (
                "/proc/sys/net/ipv4/ip_forward",
                "/proc/sys/net/ipv4/conf/all/route_localnet",
            )
        },
        "folders": {str(p) for p in (Path("/var/lib/kubelet"), Path("/run/cni"), Path("/var/log/pods")) if p.exists()},
    }


def listening() -> None:
    """Ctrl-C reaches the command also where the tests were started with SIGINT ignored, as a shell's `&` does."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def restarts(pod: dict[str, Any]) -> int:
    return sum(container["restartCount"] for container in pod["status"]["containerStatuses"])


def test_again_with_everything_up_takes_seconds(lab: Lab) -> None:
    started = time.monotonic()
    ebbtide("local", "up", "--quiet")
    assert time.monotonic() - started < 120  # a bound against hanging; the figure itself is a benchmark's


def test_ctrl_c_in_the_middle_is_clean_and_the_same_command_goes_on(lab: Lab) -> None:
    process = subprocess.Popen(
        [EBBTIDE, "local", "up", "--quiet"],
        cwd=PROJECT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=listening,
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "pulumi up" in line:
            process.send_signal(signal.SIGINT)
            break
    rest = process.stdout.read()
    assert process.wait(timeout=60) == 130
    assert "Traceback" not in rest
    assert "goes on" in rest
    ebbtide("local", "up", "--quiet")
    lab.pulumi("preview", "--expect-no-changes")


def test_killed_in_the_middle_the_same_command_goes_on(lab: Lab) -> None:
    def held() -> bool:
        return any((lab.paths.pulumi_backend / ".pulumi" / "locks").rglob("*.json"))

    process = subprocess.Popen(
        [EBBTIDE, "local", "up", "--quiet"], cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    for line in process.stdout:
        if "pulumi up" in line:
            wait_until(held, 30, "the engine holds its lock", every=0.02)
            process.kill()
            break
    process.wait(timeout=30)
    ebbtide("local", "up", "--quiet")
    lab.pulumi("preview", "--expect-no-changes")


def test_killed_with_the_machine_as_by_a_power_cut_it_comes_back(lab: Lab) -> None:
    first = namespaces.running(lab.paths)
    assert first is not None
    pods = [p for space in ("keda", "ebbtide") for p in lab.get(f"/api/v1/namespaces/{space}/pods")["items"]]
    before = {p["metadata"]["name"]: restarts(p) for p in pods}
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: not first.alive(), 20, "the machine gone")
    ebbtide("local", "up", "--quiet")
    # `up` is done when the platform is: all of it started anew, and none of it crashed on the way there
    again = namespaces.running(lab.paths)
    assert again is not None
    pods = [p for space in ("keda", "ebbtide") for p in lab.get(f"/api/v1/namespaces/{space}/pods")["items"]]
    assert readiness.unsettled(pods, again.started_at()) == []
    assert {p["metadata"]["name"]: restarts(p) - before.get(p["metadata"]["name"], 0) for p in pods} == {
        p["metadata"]["name"]: 1 for p in pods
    }
    assert lab.chat(FIRST).status_code == 200


@contextlib.contextmanager
def slow_clients(lab: Lab) -> Iterator[None]:
    """Four clients that would keep a gateway for as long as it lets them: one does not read its stream, one never ends
    its body, one its headers, one keeps a connection on which it asks nothing."""
    url = httpx.URL(lab.access.url)
    chat = {"model": FIRST, "messages": [{"role": "user", "content": "Count."}], "stream": True, "max_tokens": 1500}
    body = json.dumps({**chat, "ignore_eos": True}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {lab.access.key}\r\n"
    sent = (
        f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body,
        f"{head}Content-Length: 100000\r\n\r\n{{".encode(),
        head.encode(),
        f"GET /v1/models HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {lab.access.key}\r\n\r\n".encode(),
    )
    with contextlib.ExitStack() as open_sockets:
        for data in sent:
            connection = open_sockets.enter_context(socket.create_connection((url.host, url.port or 80), timeout=10))
            connection.sendall(data)
        yield


def test_destroy_leaves_nothing_in_the_cluster_and_down_nothing_on_the_host(lab: Lab) -> None:
    """No client holds it up: a gateway's pod may take 15 minutes for its streams, and ``Lab.pulumi`` waits for ten."""
    lab.wake(FIRST)
    with slow_clients(lab):
        lab.pulumi("destroy", "--yes", "--skip-preview")
    left = {n["metadata"]["name"] for n in lab.get("/api/v1/namespaces")["items"]}
    assert left == {"default", "kube-system", "kube-public", "kube-node-lease"}
    kinds = {c["metadata"]["name"] for c in lab.get("/apis/apiextensions.k8s.io/v1/customresourcedefinitions")["items"]}
    assert kinds == set()
    gpu = lab.get("/api/v1/nodes/ebbtide-gpu")
    assert gpu["spec"].get("taints", []) == []
    assert "workerType" not in gpu["metadata"]["labels"]

    inside = members(lab.paths)
    assert len(inside) > 10
    assert host(lab.paths)["processes"]  # so that the empty set below means something
    ebbtide("local", "down")
    after = host(lab.paths)
    assert {one for one in inside if one.alive()} == set()
    assert after["processes"] == set()
    assert after["cgroups"] == set()
    assert after["folders"] == set()
    assert not [m for m in after["mounts"] if "ebbtide" in m or "kubelet" in m or "containerd" in m]
    assert not [d for d in after["devices"] if "ebbtide" in d or d.startswith("veth")]
    assert not [rule for rule in after["firewall"] if "KUBE" in rule or "10.96." in rule or "CNI" in rule]

    ebbtide("local", "up", "--quiet")
    during = host(lab.paths)
    # the cluster runs, and still the host has no mount, device, rule or setting more than without it
    for part in ("mounts", "devices", "firewall", "settings"):
        assert during[part] == after[part], part
    inside = members(lab.paths)
    ebbtide("local", "down")
    assert host(lab.paths) == after
    assert {one for one in inside if one.alive()} == set()
    doors = ProcessId.load(lab.paths.state / "forwarder.pid")
    assert doors is None
    assert not kubernetes.api_ready(lab.paths)
