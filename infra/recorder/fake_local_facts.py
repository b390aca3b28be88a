"""Stand-in facts of a local machine that is not up, for a graph of the stack ``local``: plausible, and marked."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import yaml

from components.idle_scaling.versions import MANIFEST_FILES
from components.platforms.local.facts import LocalFacts, facts_file

MARK = "made-up"
_ZEROS = "0" * 64
_KEDA = ("keda-operator", "keda-metrics-apiserver", "keda-admission")
_ADD_ON = tuple(f"keda-add-ons-http-{part}" for part in ("interceptor", "scaler", "operator"))


def facts(manifests: Path) -> LocalFacts:
    """Return stand-in facts. No image has a digest of zeros, no machine such a folder: nobody takes them for real."""
    return LocalFacts(
        kubeconfig=f"/{MARK}/kubeconfig",
        context="ebbtide-local",
        registry="127.0.0.1:5000/ebbtide",
        models_dir=f"/{MARK}/models",
        gpu_nodes=(f"{MARK}-gpu-node",),
        gateway_url="http://127.0.0.1:4000",
        node_port=30400,
        base_images={"python": f"127.0.0.1:5000/{MARK}/base-python@sha256:{_ZEROS}"},
        keda_image=f"127.0.0.1:5000/{MARK}/keda@sha256:{_ZEROS}",
        keda_manifests_dir=str(manifests),
    )


def manifests() -> Mapping[str, list[dict[str, Any]]]:
    """Return as few documents as the engine accepts in place of those that ``ebbtide local up`` renders: the namespace
    and the Deployments, without their CRDs, roles and webhooks."""
    keda, add_on = MANIFEST_FILES
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "keda", "labels": {}}}
    return {keda: [namespace, *map(_deployment, _KEDA)], add_on: list(map(_deployment, _ADD_ON))}


def _deployment(name: str) -> dict[str, Any]:
    labels = {"app": name}
    container = {
        "name": name,
        "env": [],
        "resources": {},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    pod = {"securityContext": {"runAsNonRoot": True}, "containers": [container]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "keda", "labels": {}, "annotations": {"ebbtide.dev/facts": MARK}},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }


def machine_is_up(environ: Mapping[str, str] = os.environ) -> bool:
    """Return True if this machine has facts of its own that can be read, manifests included."""
    try:
        own = LocalFacts.load(facts_file(environ))
    except (OSError, ValueError, TypeError, KeyError):
        return False
    folder = own.keda_manifests_dir
    return folder is not None and all((Path(folder) / file).is_file() for file in MANIFEST_FILES)


@contextmanager
def in_place_of_the_machine() -> Iterator[None]:
    """Put the stand-in facts where the machine's would be, for the block."""
    with tempfile.TemporaryDirectory(prefix="ebbtide-graph-") as folder:
        home = Path(folder)
        for file, documents in manifests().items():
            (home / file).write_text(yaml.safe_dump_all(documents))
        facts(home).save(home / "facts.json")
        with mock.patch.dict(os.environ, {"EBBTIDE_STATE": folder}):
            yield
