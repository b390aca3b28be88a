"""Start and end of the rehearsal's cluster: what it listens on, what it leaves, what it says when a part dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.errors import LocalProblem
from infra.workspace import PROJECT, paths
from lab.machine.namespaces import ProcessId
from lab.rehearsal.cluster import RehearsalCluster
from lab.rehearsal.process import end_stale, marked
from lab.toolchain import go_programs

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]


@pytest.fixture(scope="module", autouse=True)
def programs() -> None:
    go_programs.build_rehearsal(paths(), lambda name: print(f"building {name}"), lambda line: None)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[RehearsalCluster]:
    with RehearsalCluster(tmp_path / "cluster", paths()) as cluster:
        cluster.start(karpenter=True)
        yield cluster


def listeners(pids: set[int]) -> set[str]:
    """The addresses these processes listen on, as the kernel writes them: 0100007F is 127.0.0.1."""
    sockets = set()
    for pid in pids:
        for fd in Path(f"/proc/{pid}/fd").iterdir():
            link = os.readlink(fd) if fd.is_symlink() else ""
            if link.startswith("socket:["):
                sockets.add(link[8:-1])
    addresses = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and fields[9] in sockets:
                addresses.add(fields[1].partition(":")[0])
    return addresses


def test_nobody_outside_this_machine_can_reach_it_and_stopping_leaves_no_process(running: RehearsalCluster) -> None:
    pids = set(running.pids().values())
    assert set(running.pids()) == {
        "etcd", "kube-apiserver", "kube-controller-manager", "kube-scheduler", "kwok", "karpenter-kwok",
    }  # fmt: skip
    assert listeners(pids) == {"0100007F"}
    assert {each.process.pid for each in marked() if each.owner.pid == os.getpid()} >= pids
    running.stop()
    assert not running.left()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


def test_its_keys_are_for_their_owner_alone(running: RehearsalCluster) -> None:
    assert running.kubeconfig.parent.stat().st_mode & 0o077 == 0
    assert running.key.stat().st_mode & 0o077 == 0


def test_a_pod_runs_and_a_load_balancer_has_an_address_so_that_who_waits_goes_on(running: RehearsalCluster) -> None:
    spec = {
        "selector": {"matchLabels": {"app": "a"}},
        "template": {
            "metadata": {"labels": {"app": "a"}},
            "spec": {
                "containers": [{"name": "c", "image": "any:1"}],
                "initContainers": [{"name": "i", "image": "any:1"}],
            },
        },
    }
    inside = {"name": "a", "namespace": "default"}
    apply, get = running.api.apply, running.api.get
    apply({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": inside, "spec": spec})
    ports = {"selector": {"app": "a"}, "ports": [{"port": 80}]}
    apply({"apiVersion": "v1", "kind": "Service", "metadata": inside, "spec": {"type": "LoadBalancer", **ports}})
    backend = {"defaultBackend": {"service": {"name": "a", "port": {"number": 80}}}}
    apply({"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": inside, "spec": backend})

    def status(path: str) -> dict[str, object]:
        return dict((get(path) or {}).get("status") or {})

    deployment = "/apis/apps/v1/namespaces/default/deployments/a"
    running.wait(lambda: status(deployment).get("availableReplicas") == 1, "the Deployment to be available", 30)
    for path in ("/api/v1/namespaces/default/services/a", "/apis/networking.k8s.io/v1/namespaces/default/ingresses/a"):
        running.wait(lambda path=path: status(path).get("loadBalancer"), f"{path} to have an address", 30)


def test_a_part_that_dies_is_named_with_the_end_of_its_log(running: RehearsalCluster) -> None:
    pid = running.pids()["kube-scheduler"]
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(LocalProblem, match=r"kube-scheduler ended with status -9[\s\S]*kube-scheduler\.log"):
        running.wait(lambda: False, "nothing", 20)


def test_what_a_killed_rehearsal_left_is_ended_by_the_next_and_a_living_one_is_left_alone(
    running: RehearsalCluster, tmp_path: Path
) -> None:
    program = f"""
        import time
        from pathlib import Path
        from infra.workspace import paths
        from lab.rehearsal.cluster import RehearsalCluster
        RehearsalCluster(Path({str(tmp_path / "killed")!r}), paths()).start()
        print("up", flush=True)
        time.sleep(300)
    """
    killed = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)], stdout=subprocess.PIPE, text=True, cwd=PROJECT
    )
    assert killed.stdout is not None
    assert killed.stdout.readline() == "up\n"
    left = [each.process for each in marked() if each.owner.pid == killed.pid]
    assert len(left) == 5
    killed.kill()
    killed.wait()
    assert all(process.alive() for process in left)

    assert end_stale() >= len(left)
    assert not any(process.alive() for process in left)
    mine = [ProcessId.of(pid) for pid in running.pids().values()]
    assert len(mine) == 6
    assert all(process is not None for process in mine)


def test_two_rehearsals_in_one_folder_are_refused(running: RehearsalCluster) -> None:
    second = RehearsalCluster(running.kubeconfig.parent, paths())
    with pytest.raises(LocalProblem, match=r"runs already in [\s\S]*fix: wait for it"):
        second.start()
    assert len(running.pids()) == 6
