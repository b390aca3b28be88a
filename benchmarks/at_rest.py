"""What the platform itself uses while every model sleeps, by component: ``python -m benchmarks.at_rest [seconds]``.

On the local stack, over 120 seconds unless told otherwise. CPU seconds and working set are the kubelets' own figures
(``/stats/summary`` through the API server); PSS, where the pods' processes can be seen from here, is ``/proc``'s.
Counted are the pods of the platform's namespaces. The cluster's own processes (API server, etcd, kubelets, containerd),
which a cloud runs or charges apart, are not. Results go to ``docs/results/at-rest.json``; the command ends with 1 above
the goal.
"""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.load_kit import PLATFORM, about, keep, lab
from infra.bench.document import rounded
from infra.console import say
from tests.lab.conftest import Lab

GOAL_CORES, GOAL_GIB = 0.3, 1.5
_POD = re.compile(r"pod([0-9a-f]{8}[-_][0-9a-f-_]{27})")
# a pod's name ends in its ReplicaSet's hash and its own, a DaemonSet's in its own alone
_HASHES = re.compile(r"(?:-[a-f0-9]{8,10})?-[a-z0-9]{5}$")


@dataclass(frozen=True)
class Reading:
    """One pod at one time, as its kubelet says: nanoseconds of CPU since it started, bytes of working set."""

    namespace: str
    name: str
    uid: str
    cpu_ns: int
    cpu_at: str
    working_set: int


@dataclass(frozen=True)
class Used:
    component: str
    pods: int
    cores: float
    cpu_seconds: float
    working_set_mib: float
    pss_mib: float | None


def component(namespace: str, pod: str) -> str:
    return f"{namespace}/{_HASHES.sub('', pod)}"


def readings(summary: Mapping[str, Any]) -> list[Reading]:
    """Of one node's ``/stats/summary``. A pod whose figures are not there yet is left out."""
    measured_pods = []
    for pod in summary.get("pods", []):
        of = pod["podRef"]
        containers = pod.get("containers", [])
        cpu = [each["cpu"] for each in containers if each.get("cpu", {}).get("usageCoreNanoSeconds") is not None]
        memory = [
            each["memory"]["workingSetBytes"] for each in containers if "workingSetBytes" in each.get("memory", {})
        ]
        if cpu:
            spent = sum(int(each["usageCoreNanoSeconds"]) for each in cpu)
            measured_pods.append(Reading(of["namespace"], of["name"], of["uid"], spent, cpu[0]["time"], sum(memory)))
    return measured_pods


def used(before: Iterable[Reading], after: Iterable[Reading], seconds: float, pss: Mapping[str, int]) -> list[Used]:
    """By component, the hungriest first. A pod that was not there before counts from zero; one that is gone no more."""
    earlier = {reading.uid: reading for reading in before}
    grouped: dict[str, list[tuple[float, int, int | None]]] = {}
    for reading in after:
        spent = reading.cpu_ns - (earlier[reading.uid].cpu_ns if reading.uid in earlier else 0)
        row = (max(0, spent) / 1e9, reading.working_set, pss.get(reading.uid))
        grouped.setdefault(component(reading.namespace, reading.name), []).append(row)
    usages = [
        Used(
            component=name,
            pods=len(rows),
            cores=sum(spent for spent, _, _ in rows) / seconds,
            cpu_seconds=sum(spent for spent, _, _ in rows),
            working_set_mib=sum(size for _, size, _ in rows) / 1024**2,
            pss_mib=None if None in [own for _, _, own in rows] else sum(own or 0 for _, _, own in rows) / 1024**2,
        )
        for name, rows in grouped.items()
    ]
    return sorted(usages, key=lambda each: -each.cpu_seconds)


def pod_of(cgroup: str) -> str | None:
    """The pod's uid in a process's ``/proc/PID/cgroup``, as the API server writes it."""
    match = _POD.search(cgroup)
    return match.group(1).replace("_", "-") if match else None


def pss_by_pod(proc: Path = Path("/proc")) -> dict[str, int]:
    """Bytes, of every pod whose processes are to be seen from here: shared pages are counted once, in shares."""
    pss_by_uid: dict[str, int] = {}
    for entry in proc.iterdir():
        with contextlib.suppress(OSError):  # it ended meanwhile
            if entry.name.isdigit() and (uid := pod_of((entry / "cgroup").read_text())):
                rollup = (entry / "smaps_rollup").read_text()
                line = next((each for each in rollup.splitlines() if each.startswith("Pss:")), "Pss: 0 kB")
                pss_by_uid[uid] = pss_by_uid.get(uid, 0) + 1024 * int(line.split()[1])
    return pss_by_uid


def pod_readings(at: Lab, namespaces: Collection[str] = PLATFORM) -> list[Reading]:
    nodes = at.get("/api/v1/nodes")["items"]
    names = [node["metadata"]["name"] for node in nodes]
    all_readings = [each for name in names for each in readings(at.get(f"/api/v1/nodes/{name}/proxy/stats/summary"))]
    return [each for each in all_readings if each.namespace in namespaces]


def asleep(at: Lab) -> None:
    for model in at.access.models:
        at.until_asleep(model)


def main(seconds: float) -> int:
    at = lab()
    say("  until every model sleeps")
    asleep(at)
    time.sleep(15)  # what puts the last pod away has done so
    before, began = pod_readings(at), time.monotonic()
    while time.monotonic() - began < seconds:
        say(f"    … {time.monotonic() - began:.0f} of {seconds:.0f} s")
        time.sleep(min(20.0, max(0.1, seconds - (time.monotonic() - began))))
    after, took = pod_readings(at), time.monotonic() - began
    disturbed = [model for model in at.access.models if not at.asleep(model)]
    usages = used(before, after, took, pss_by_pod())
    at.api.close()
    cores, gib = sum(each.cores for each in usages), sum(each.working_set_mib for each in usages) / 1024
    known = [each.pss_mib for each in usages if each.pss_mib is not None]
    result = {
        "what": "CPU and memory of the platform's pods while every model sleeps",
        **about(),
        "seconds": round(took, 1),
        "goal": {"cores": GOAL_CORES, "gib": GOAL_GIB},
        "cores": round(cores, 4),
        "working_set_gib": round(gib, 3),
        "pss_gib": round(sum(known) / 1024, 3) if len(known) == len(usages) else None,
        "disturbed_by": disturbed,
        "components": [rounded(asdict(each), 4) for each in usages],
    }
    keep("at-rest.json", result)
    for each in usages:
        pss = "-" if each.pss_mib is None else f"{each.pss_mib:.0f}"
        say(f"  {each.component:<46} {each.cores:.4f} cores  {each.working_set_mib:7.1f} MiB  PSS {pss}")
    say(f"  together {cores:.3f} cores, {gib:.2f} GiB (goal {GOAL_CORES} and {GOAL_GIB}) → docs/results/at-rest.json")
    if disturbed:
        say(f"  no rest: {', '.join(disturbed)} was asked meanwhile; run it again")
    return 1 if disturbed or cores >= GOAL_CORES or gib >= GOAL_GIB else 0


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 120.0))
