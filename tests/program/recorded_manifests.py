"""The Kubernetes objects of a recorded graph as they would be sent once everything exists: what the recorder could not
know (late values, secrets) is replaced by something of the right shape, and every object is named by its resource."""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from infra.workspace import paths
from tests.program import stack_kit
from tests.program.stack_kit import PROJECT, local_facts

STACKS = sorted(file.name.split(".")[1] for file in stack_kit.STACKS.glob("Pulumi.*.yaml"))
LATE = re.compile(r"\$\{urn:[^{}#]+#([^{}]*)\}")
SECRET = "[secret]"
DIGEST = "sha256:" + "d" * 64
# what a late value looks like, by the property it is read from; all else is a word
PLAUSIBLE = {
    "ref": f"registry.example.com/ebbtide/image@{DIGEST}",
    "digest": DIGEST,
    "repositoryUrl": "registry.example.com/ebbtide/image",
    "loginServer": "registry.example.com",
    "arn": "arn:aws:iam::123456789012:role/late",
    "clientId": "00000000-0000-0000-0000-000000000000",
    "email": "late@project.iam.gserviceaccount.com",
}
NO_OBJECTS = {"kubernetes:helm.sh/v3:Release": "what a chart renders is known where charts can be reached"}


@dataclass(frozen=True)
class Sent:
    """One object and the resource that asks for it."""

    urn: str
    type: str
    document: dict[str, Any]


def graph(stack: str, temporary: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """``ebbtide graph`` of one of the project's stacks, run once for all workers; the local one with KEDA's
    own manifests, as on a machine that has them."""
    base = temporary.getbasetemp()
    state = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / f"graph-{stack}"
    state.mkdir(exist_ok=True)
    out = state / "graph.json"
    with (state / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # who comes second waits, and finds the file
        if not out.exists():
            _record(stack, state, out)
    entries: list[dict[str, Any]] = json.loads(out.read_text())
    return entries


def _record(stack: str, state: Path, out: Path) -> None:
    local_facts(paths().cache / "keda").save(state / "facts.json")
    program = Path(sys.executable).with_name("ebbtide")
    done = subprocess.run(
        [str(program), "graph", "--stack", stack, "--out", str(out)],
        capture_output=True,
        text=True,
        cwd=PROJECT,
        env={**os.environ, "EBBTIDE_STATE": str(state)},
        check=False,
    )
    assert done.returncode == 0, done.stderr


def sent(resources: list[dict[str, Any]]) -> Iterator[Sent]:
    """Every Kubernetes object of the graph, in the order of creation."""
    for resource in resources:
        kind = resource["type"]
        if kind.startswith("kubernetes:") and kind not in NO_OBJECTS and resource["custom"]:
            yield Sent(resource["urn"], kind, filled(resource["inputs"]))


def filled(document: dict[str, Any]) -> dict[str, Any]:
    """With plausible values where the recorder has a late or a secret one."""
    manifest: dict[str, Any] = _filled(document)
    if document.get("kind") == "Secret":
        # what is not written as text has to be base64
        encoded = base64.b64encode(b"secret").decode()
        data = manifest.get("data")
        if isinstance(data, dict):
            manifest["data"] = {key: encoded if _unknown(document["data"][key]) else v for key, v in data.items()}
        for whole in ("data", "stringData"):
            if isinstance(manifest.get(whole), str):
                manifest[whole] = {"key": encoded if whole == "data" else "secret"}
    return manifest


def _unknown(value: Any) -> bool:
    return isinstance(value, str) and (SECRET in value or LATE.search(value) is not None)


def _filled(value: Any) -> Any:
    if isinstance(value, dict):
        return {_filled(key): _filled(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_filled(child) for child in value]
    if isinstance(value, str):
        return LATE.sub(_plausible, value.replace(SECRET, "secret"))
    return value


def _plausible(match: re.Match[str]) -> str:
    last = re.split(r"[.\[]", match.group(1))[-1]
    return PLAUSIBLE.get(last, "late")


def pod_templates(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The pods that an object's controller would create, as objects of their own."""
    spec = document.get("spec") or {}
    if document["kind"] == "CronJob":
        spec = spec["jobTemplate"]["spec"]
    if document["kind"] in ("Deployment", "StatefulSet", "DaemonSet", "Job", "CronJob"):
        template = spec["template"]
        metadata = {**template.get("metadata", {}), "namespace": document["metadata"].get("namespace", "default")}
        yield {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {**metadata, "name": f"{document['metadata']['name']}-0"},
            "spec": {"restartPolicy": "Always", **template["spec"]},
        }
