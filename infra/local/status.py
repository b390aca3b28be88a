"""What the local stack says of itself."""

from __future__ import annotations

import json
from typing import Any

import httpx

from infra.local import cluster, kube_client, machine, nodes, settled
from infra.local.ask import NAMESPACE, Access
from infra.local.choice import Choice
from infra.local.paths import Paths, paths
from infra.local.problem import LocalProblem
from infra.local.progress import say


def show() -> int:
    """Print the state; 0 when everything that should run does, 1 otherwise."""
    at = paths()
    lab = (Choice.load(at) or Choice("lab")).kind == "lab"
    if not (machine.running(at) if lab else at.kubeconfig.exists()):
        say("the local cluster is not running (`make local` or `ebbtide local up` starts it)")
        return 1
    if not kube_client.api_ready(at):
        logs = "`ebbtide local logs kube-apiserver`" if lab else "`ebbtide local up` makes it answer or tells why"
        say(f"the local cluster is there, but its API server does not answer: {logs}")
        return 1
    with kube_client.api_client(at) as api:
        ready = nodes.all_ready(api.get("/api/v1/nodes").json()["items"])
        say(f"cluster   {api.base_url.host}:{api.base_url.port or 443}, nodes {'Ready' if ready else 'NOT ready'}")
        pods = api.get("/api/v1/pods").json()["items"]
        bad = [p for p in pods if not _well(p)]
        say(f"platform  {len(pods) - len(bad)} of {len(pods)} pods well")
        for pod in bad:
            say(f"          {pod['metadata']['namespace']}/{pod['metadata']['name']}: {pod['status'].get('phase')}")
        for deployment in _models(api):
            name = deployment["metadata"]["name"]
            wanted, awake = deployment["spec"].get("replicas", 0), deployment["status"].get("readyReplicas", 0)
            word = "asleep" if not wanted else "awake" if awake else "waking"
            say(f"model     {name}: {word} ({awake} of {wanted} ready)")
    url = _gateway_url(at)
    gateway = settled.gateway(url)
    say(f"gateway   {url} {gateway}")
    return 0 if gateway == "ready" and not bad else 1


def _models(api: httpx.Client) -> list[dict[str, Any]]:
    found = api.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments").json()
    return sorted(found.get("items", []), key=lambda d: str(d["metadata"]["name"]))


def _well(pod: dict[str, Any]) -> bool:
    if pod["metadata"].get("deletionTimestamp") or pod["status"].get("phase") == "Succeeded":
        return True
    if pod["metadata"].get("labels", {}).get("ebbtide.dev/model"):
        return pod["status"].get("phase") in ("Running", "Pending")
    conditions = pod["status"].get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _gateway_url(at: Paths) -> str:
    try:
        return Access.load(at).url
    except LocalProblem:  # the stack has not been up yet
        return f"http://127.0.0.1:{cluster.PORTS.gateway}"


def logs(part: str | None, lines: int) -> None:
    """The end of a part's log file or of a pod's log."""
    at = paths()
    files = {file.stem: file for file in sorted(at.logs.glob("*.log"))}
    if part in files:
        for line in files[part].read_text(errors="replace").splitlines()[-lines:]:
            say(line)
        return
    pods: list[dict[str, Any]] = []
    if at.kubeconfig.exists() and kube_client.api_ready(at):
        pods = json.loads(cluster.kubectl(at, "get", "pods", "-A", "-o", "json"))["items"]
    if part is None:
        say("parts: " + ", ".join(files))
        say("pods:  " + ", ".join(p["metadata"]["name"] for p in pods))
        return
    for pod in pods:
        if pod["metadata"]["name"].startswith(part):
            name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
            say(cluster.kubectl(at, "logs", "-n", namespace, name, f"--tail={lines}").rstrip())
            return
    known = ", ".join([*files, *(p["metadata"]["name"] for p in pods)])
    raise LocalProblem(f"there is no part or pod called {part}", f"name one of: {known}")
