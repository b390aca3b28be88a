"""What the programs here share that put load on the running stack: where they ran, what they keep, who they ask."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from infra.atomic_write import atomic_write
from infra.bench.client import Client, Endpoint
from infra.bench.document import machine, now, versions
from infra.workspace import PROJECT, paths
from lab.ask import Access
from tests.lab.conftest import Lab

PLATFORM = ("ebbtide", "keda", "kube-system")  # namespaces of what is there while every model sleeps


def lab() -> Lab:
    """The running stack with its demo key; raises ``LocalProblem`` where there is none."""
    at = paths()
    access = Access.load(at)
    return Lab(at, access, {"demo": access.key})


def gateway(lab: Lab, model: str, limit_seconds: float = 900.0) -> Client:
    return Client(Endpoint(lab.access.url, model, lab.access.key), limit_seconds)


def about() -> dict[str, Any]:
    return {"date": now(), "machine": machine(), "versions": versions()}


def keep(name: str, result: dict[str, Any]) -> Path:
    """Whole or not at all, so that a run that is ended leaves what it had."""
    file = PROJECT / "docs" / "results" / name
    atomic_write(file, json.dumps(result, indent=1) + "\n")
    return file


def restarts(pods: list[dict[str, Any]]) -> dict[str, int]:
    """Container restarts by ``namespace/pod``."""
    return {
        f"{pod['metadata']['namespace']}/{pod['metadata']['name']}": sum(
            each.get("restartCount", 0) for each in pod.get("status", {}).get("containerStatuses", [])
        )
        for pod in pods
    }


def platform_pods(lab: Lab) -> list[dict[str, Any]]:
    return [pod for name in PLATFORM for pod in lab.get(f"/api/v1/namespaces/{name}/pods")["items"]]
