"""Status and logs of the local stack."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import httpx

from infra import kube_client
from infra.console import say
from infra.errors import LocalProblem
from infra.workspace import Paths, paths
from lab import gpu_nodes, readiness
from lab.ask import NAMESPACE, Access
from lab.clusters.choice import Choice
from lab.machine import kubernetes, namespaces
from lab.readiness import MODEL_LABEL


def show() -> int:
    """Print the state; return 0 when everything that should run does, 1 otherwise."""
    at = paths()
    lab = (Choice.load(at) or Choice("lab")).kind == "lab"
    if not (namespaces.running(at) if lab else at.kubeconfig.exists()):
        say("the local cluster is not running (`make local` or `ebbtide local up` starts it)")
        return 1
    if not kube_client.api_ready(at):
        logs = "`ebbtide local logs kube-apiserver`" if lab else "`ebbtide local up` makes it answer or tells why"
        say(f"the local cluster is there, but its API server does not answer: {logs}")
        return 1
    try:
        bad = _cluster(at)
    except (httpx.HTTPError, KeyError, ValueError) as error:
        say(f"the API server has stopped answering while it was asked ({error!r}): run this again")
        return 1
    url = _gateway_url(at)
    gateway = readiness.gateway(url)
    say(f"gateway   {url} {gateway}")
    return 0 if gateway == "ready" and not bad else 1


def _cluster(at: Paths) -> list[dict[str, Any]]:
    """Print what the API server reports and return the pods that are not well."""
    with kube_client.api_client(at) as api:
        ready = gpu_nodes.all_ready(api.get("/api/v1/nodes").json()["items"])
        say(f"cluster   {api.base_url.host}:{api.base_url.port or 443}, nodes {'Ready' if ready else 'NOT ready'}")
        say(f"          kubeconfig {at.kubeconfig}; `ebbtide local kubectl …` uses it")
        pods = api.get("/api/v1/pods").json()["items"]
        bad = [p for p in pods if not _well(p)]
        say(f"platform  {len(pods) - len(bad)} of {len(pods)} pods well")
        for pod in bad:
            say(f"          {pod['metadata']['namespace']}/{pod['metadata']['name']}: {pod['status'].get('phase')}")
        for deployment in _models(api):
            name = deployment["metadata"]["name"]
            replicas, awake = deployment["spec"].get("replicas", 0), deployment["status"].get("readyReplicas", 0)
            word = "asleep" if not replicas else "awake" if awake else "waking"
            say(f"model     {name}: {word} ({awake} of {replicas} ready)")
        return bad


def kubeconfig() -> Path:
    """Return the cluster's kubeconfig file. Raises ``LocalProblem`` where `up` has not written it yet."""
    at = paths()
    if not at.kubeconfig.exists():
        raise LocalProblem("the local cluster is not there yet", "run `make local` or `ebbtide local up`")
    return at.kubeconfig


def kubectl(arguments: Sequence[str]) -> NoReturn:
    """Replace this process by the kubectl that `up` built, on the cluster. Raises ``LocalProblem`` if it is missing."""
    program = paths().bin / "kubectl"
    reached = kubeconfig()
    try:
        os.execv(program, ["kubectl", "--kubeconfig", str(reached), *arguments])  # noqa: S606
    except OSError:
        raise LocalProblem(
            f"the kubectl program is not there ({program})", "run `ebbtide local up`: it builds it"
        ) from None


def _models(api: httpx.Client) -> list[dict[str, Any]]:
    listing = api.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments").json()
    return sorted(listing.get("items", []), key=lambda d: str(d["metadata"]["name"]))


def _well(pod: dict[str, Any]) -> bool:
    if pod["metadata"].get("deletionTimestamp") or pod["status"].get("phase") == "Succeeded":
        return True
    if pod["metadata"].get("labels", {}).get(MODEL_LABEL):
        return pod["status"].get("phase") in ("Running", "Pending")
    conditions = pod["status"].get("conditions", [])
    return any(c["type"] == "Ready" and c["status"] == "True" for c in conditions)


def _gateway_url(at: Paths) -> str:
    try:
        return Access.load(at).url
    except LocalProblem:  # the stack has not been up yet
        return f"http://127.0.0.1:{kubernetes.PORTS.gateway}"


def _last_end(at: Paths, model: str) -> str | None:
    """Return how a model's engine last ended by itself, which the keeper notes on its ScaledObject; None: never."""
    scaled_object = kubernetes.kubectl(at, "get", "scaledobject", "-n", NAMESPACE, model, "-o", "json", check=False)
    try:
        end = json.loads(json.loads(scaled_object)["metadata"]["annotations"]["ebbtide.dev/last-engine-end"])
        details = "; ".join(end["errors"]) or "it said no error"
        return f"an engine of {model} ended at {end['at']} ({end['reason']}, exit code {end['exit_code']}): {details}"
    except (ValueError, KeyError, TypeError):
        return None


def logs(part: str | None, lines: int) -> None:
    """Print the end of a part's log file or a pod's log; for a sleeping model, since when and what happened last."""
    at = paths()
    files = {file.stem: file for file in sorted(at.logs.glob("*.log"))}
    if part in files:
        for line in files[part].read_text(errors="replace").splitlines()[-lines:]:
            say(line)
        return
    pods: list[dict[str, Any]] = []
    asleep: dict[str, dict[str, Any]] = {}
    if at.kubeconfig.exists() and kube_client.api_ready(at):
        pods = json.loads(kubernetes.kubectl(at, "get", "pods", "-A", "-o", "json"))["items"]
        scaled = json.loads(
            kubernetes.kubectl(at, "get", "scaledobjects", "-n", NAMESPACE, "-o", "json", check=False) or "{}"
        )
        awake = {pod["metadata"].get("labels", {}).get(MODEL_LABEL) for pod in pods}
        asleep = {s["metadata"]["name"]: s for s in scaled.get("items", []) if s["metadata"]["name"] not in awake}
    names = [pod["metadata"]["name"] for pod in pods]
    if part is None:
        say("parts: " + ", ".join(files))
        say("pods:  " + ", ".join(names))
        if asleep:
            say("asleep: " + ", ".join(asleep))
        return
    model = _alias(at, part)
    end = _last_end(at, model) if pods else None
    if end is not None:
        say(end)
    for pod in pods:
        if pod["metadata"]["name"].startswith(part) or pod["metadata"].get("labels", {}).get(MODEL_LABEL) == model:
            name, namespace = pod["metadata"]["name"], pod["metadata"]["namespace"]
            if any("terminated" in each.get("lastState", {}) for each in pod["status"].get("containerStatuses", [])):
                say(f"the end of {name}'s log before it was started again:")
                say(
                    kubernetes.kubectl(
                        at, "logs", "--previous", "-n", namespace, name, f"--tail={lines}", check=False
                    ).rstrip()
                )
                say(f"{name}'s log since then:")
            say(kubernetes.kubectl(at, "logs", "-n", namespace, name, f"--tail={lines}").rstrip())
            return
    if model in asleep:
        events = json.loads(kubernetes.kubectl(at, "get", "events", "-n", NAMESPACE, "-o", "json", check=False) or "{}")
        for line in sleeping(model, asleep[model], events.get("items", []), lines):
            say(line)
        return
    known = ", ".join([*files, *names, *asleep])
    raise LocalProblem(f"there is no part, pod or model called {part}", f"name one of: {known or '(nothing runs)'}")


def _alias(at: Paths, name: str) -> str:
    """Return the model that a name stands for; the name itself if the gateway cannot be asked or does not know it."""
    try:
        return Access.load(at).listed().get(name, name)
    except LocalProblem:
        return name


def sleeping(model: str, scaled: Mapping[str, Any], events: Iterable[Mapping[str, Any]], lines: int) -> list[str]:
    """Return the lines about a model without a pod: since when, its last events, how to wake it. Its log is gone with
    its pod."""
    own = re.compile(rf"{re.escape(model)}(-[a-z0-9]+)*\Z")
    happened = sorted(
        ((_when(e), e) for e in events if own.match(str(e.get("involvedObject", {}).get("name", "")))),
        key=lambda each: each[0],
    )
    went = [when for when, event in happened if event.get("reason") == "KEDAScaleTargetDeactivated"]
    last = scaled.get("status", {}).get("lastActiveTime")
    since = f"since {went[-1]}" if went else f"nobody has needed it since {last}" if last else "nobody has asked it yet"
    report = [f"{model} is asleep: {since}. It has no pod, and the last one's log went with it."]
    if happened:
        report.append("last events:")
        report += [
            f"  {when}  {event.get('involvedObject', {}).get('kind')}  {event.get('reason')}: "
            f"{' '.join(str(event.get('message', '')).split())}"
            for when, event in happened[-lines:]
        ]
    return [*report, f"to wake it: ebbtide local ask --model {model} 'Hello'"]


def _when(event: Mapping[str, Any]) -> str:
    return str(event.get("lastTimestamp") or event.get("eventTime") or event["metadata"].get("creationTimestamp") or "")
