"""The private namespaces of the local cluster, made for real around a sleeping program.

Needs root. Everything happens under a state folder and a cgroup name of the test's own, so that a cluster that runs on
this machine is not touched.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.errors import LocalProblem
from infra.workspace import Paths
from lab.machine import namespaces
from lab.machine.namespaces import ProcessId


def wait_for(check: Callable[[], Any], what: str, seconds: float = 20) -> Any:
    deadline = time.monotonic() + seconds
    while True:
        result = check()
        if result:
            return result
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Paths]:
    """Folders and a cgroup name that no cluster uses."""
    assert os.geteuid() == 0, "these tests need root: they make namespaces and cgroups"
    monkeypatch.setattr(namespaces, "CGROUP", f"ebbtide-test-{os.getpid()}")
    monkeypatch.setattr(namespaces, "KUBELET", tmp_path / "var-lib-kubelet")
    places = Paths(tmp_path / "cache", tmp_path / "state")
    places.state.mkdir()
    yield places
    namespaces.stop(places)
    assert not namespaces.cgroups_left()


def spec(at: Paths, script: str = "exec sleep 1000") -> dict[str, Any]:
    part = {"name": "part", "argv": ["sh", "-c", script], "log": str(at.logs / "part.log"), "env": {}}
    setup = [["mount", "-t", "tmpfs", "tmpfs", "/mnt"]]
    return {"hostname": "lab", "cgroups": ["one", "two"], "setup": setup, "processes": [part]}


def started(at: Paths, pid: int) -> int:
    """The part's own pid on the host."""
    children = Path(f"/proc/{pid}/task/{pid}/children")
    return int(wait_for(lambda: "started part" in (at.logs / "machine.log").read_text() and children.read_text(),
                        "the part to start").split()[-1])  # fmt: skip


def output(argv: list[str]) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True, timeout=20).stdout.strip()


def test_a_process_is_told_from_a_later_one_with_the_same_number(tmp_path: Path) -> None:
    me = ProcessId.of(os.getpid())
    assert me is not None
    assert me.alive()
    assert not ProcessId(me.pid, me.started - 1).alive()
    file = tmp_path / "deep" / "pid"
    me.save(file)
    assert ProcessId.load(file) == me
    ProcessId(me.pid, me.started - 1).save(file)
    assert ProcessId.load(file) is None
    file.write_text("half a li")
    assert ProcessId.load(file) is None
    assert ProcessId.load(tmp_path / "absent") is None


def test_a_process_that_has_ended_is_gone_even_before_anybody_collects_it() -> None:
    process = subprocess.Popen(["sleep", "1000"])
    process_id = ProcessId.of(process.pid)
    assert process_id is not None
    process.kill()
    wait_for(lambda: not process_id.alive(), "its end")
    assert ProcessId.of(process.pid) is None
    process.wait()


def test_a_process_that_ignores_the_polite_signal_is_killed() -> None:
    process = subprocess.Popen(["sh", "-c", 'trap "" TERM; echo ready; while :; do sleep 0.05; done'], stdout=-1)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    process_id = ProcessId.of(process.pid)
    assert process_id is not None
    process_id.end(0.3)
    assert not process_id.alive()
    assert process.wait(5) == -signal.SIGKILL


def test_the_machine_sees_nothing_of_the_host_and_the_host_nothing_of_it(at: Paths) -> None:
    first = namespaces.start(spec(at), at)
    started(at, first.pid)
    assert output(namespaces.inside(at, ["uname", "-n"])) == "lab"
    assert "supervisor.py" in output(namespaces.inside(at, ["cat", "/proc/1/cmdline"]))
    table = output(namespaces.inside(at, ["cat", "/proc/net/dev"])).splitlines()[2:]
    # some kernels put an unused tunnel of each kind into every network
    devices = {line.partition(":")[0].strip() for line in table}
    assert devices <= {"lo", "tunl0", "sit0", "gre0", "gretap0", "erspan0", "ip_vti0", "ip6_vti0", "ip6tnl0", "ip6gre0"}
    assert " /mnt " in output(namespaces.inside(at, ["cat", "/proc/mounts"]))
    assert " /mnt " not in Path("/proc/mounts").read_text()
    assert os.uname().nodename != "lab"
    for kind in ("mnt", "pid", "net", "uts", "ipc"):
        assert os.readlink(f"/proc/{first.pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}"), kind


def test_only_the_network_is_entered_where_a_command_needs_the_hosts_files(at: Paths) -> None:
    first = namespaces.start(spec(at), at)
    started(at, first.pid)
    spaces = output(namespaces.inside(at, ["readlink", "/proc/self/ns/net", "/proc/self/ns/mnt"], network_only=True))
    assert spaces.split() == [os.readlink(f"/proc/{first.pid}/ns/net"), os.readlink("/proc/self/ns/mnt")]


def test_a_machine_that_runs_is_left_alone(at: Paths) -> None:
    first = namespaces.start(spec(at), at)
    assert namespaces.start(spec(at), at) == first == namespaces.running(at)


def test_stop_ends_every_process_and_takes_the_cgroups(at: Paths) -> None:
    first = namespaces.start(spec(at), at)
    part = ProcessId.of(started(at, first.pid))
    assert part is not None
    assert namespaces.cgroups_left()
    namespaces.KUBELET.mkdir()
    namespaces.stop(at)
    assert not first.alive()
    assert not part.alive()
    assert namespaces.running(at) is None
    assert not namespaces.cgroups_left()
    assert not namespaces.KUBELET.exists()
    namespaces.stop(at)


def test_a_machine_that_is_stopped_before_it_listens_is_gone_as_quickly(at: Paths) -> None:
    first = namespaces.start(spec(at), at)
    began = time.monotonic()
    namespaces.stop(at)
    assert not first.alive()
    assert time.monotonic() - began < 15, "the polite signal was lost, and only the other one ended it"


@pytest.mark.parametrize("whose", ["its first process", "the one that made its namespaces"])
def test_after_a_kill_nothing_of_the_machine_lives_on_and_it_starts_again(at: Paths, whose: str) -> None:
    first = namespaces.start(spec(at), at)
    part = ProcessId.of(started(at, first.pid))
    assert part is not None
    maker = int(Path(f"/proc/{first.pid}/stat").read_text().rpartition(")")[2].split()[1])
    assert b"unshare" in Path(f"/proc/{maker}/cmdline").read_bytes()
    os.kill(first.pid if whose == "its first process" else maker, signal.SIGKILL)
    wait_for(lambda: not first.alive() and not part.alive(), "both to be gone")
    assert namespaces.running(at) is None
    again = namespaces.start(spec(at), at)
    assert again != first
    assert again.alive()


def test_orphans_inside_are_collected_by_the_first_process(at: Paths) -> None:
    first = namespaces.start(spec(at, "(sh -c 'echo $$; exit 0' &) ; exec sleep 1000"), at)
    started(at, first.pid)
    wait_for(lambda: (at.logs / "part.log").exists() and (at.logs / "part.log").read_text(), "the orphan's number")
    states = "cat /proc/[0-9]*/status | grep ^State"
    wait_for(
        lambda: "(zombie)" not in output(namespaces.inside(at, ["sh", "-c", states])), "the orphan to be collected"
    )


def test_without_a_machine_there_is_no_inside(at: Paths) -> None:
    with pytest.raises(LocalProblem, match="the local cluster is not running\n  fix: run `make local`"):
        namespaces.inside(at, ["true"])


def test_a_machine_that_cannot_be_made_is_said_with_the_log(at: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "SYSTEM_PATH", str(at.state))
    (at.state / "unshare").write_text("#!/bin/sh\necho not permitted >&2\nexit 1\n")
    (at.state / "unshare").chmod(0o755)
    with pytest.raises(LocalProblem, match="could not be made") as refused:
        namespaces.start(spec(at), at)
    assert "| not permitted" in str(refused.value)
    assert namespaces.running(at) is None


def test_cgroups_are_made_usable_and_cleared_deepest_first(at: Paths) -> None:
    namespaces.make_cgroups(["one", "two"])
    left = namespaces.cgroups_left()
    assert left
    assert all((folder / name).is_dir() for folder in left for name in ("one", "two"))
    for folder in left:
        cpus = folder / "one" / "cpuset.cpus"
        if cpus.exists() and not (folder / "cgroup.controllers").exists():
            assert cpus.read_text().strip(), "a v1 cpuset without processors takes no process"
        (folder / "one" / "kubepods" / "pod1").mkdir(parents=True)
    namespaces.clear_cgroups()
    assert not namespaces.cgroups_left()


def test_a_cgroup_with_a_process_in_it_stays_until_that_is_gone_and_so_does_kubelets_folder(
    at: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespaces.make_cgroups(["one"])
    (folder, *_) = [f for f in namespaces.cgroups_left() if "freezer" in str(f) or f.parent.name == "cgroup"]
    process = subprocess.Popen(["sleep", "1000"])
    try:
        (folder / "one" / "cgroup.procs").write_text(str(process.pid))
        namespaces.clear_cgroups(seconds=0.2)
        assert namespaces.cgroups_left() == [folder]
        # another state folder's machine still runs: what is mounted on kubelet's folder in there must stay
        monkeypatch.setattr(namespaces.clear_cgroups, "__defaults__", (0.2,))
        namespaces.KUBELET.mkdir()
        namespaces.stop(at)
        assert namespaces.KUBELET.exists()
    finally:
        process.kill()
        process.wait()
    namespaces.clear_cgroups()
    assert not namespaces.cgroups_left()
