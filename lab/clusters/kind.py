"""A cluster by kind, where Docker runs, with a registry container beside it; both on loopback.

The node image is kind's own at the lab's Kubernetes version, so that both behave the same with the same stack.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from components.platforms.local.facts import LocalFacts
from infra.console import step
from infra.errors import LocalProblem
from infra.workspace import Paths
from lab import build_stamps, docker, gpu_nodes, model_cache
from lab.machine import control_plane, kubernetes
from lab.processes import run_logged
from lab.toolchain import go_programs
from lab.toolchain.go_programs import GoProgram
from lab.toolchain.reachable import Reachable

NAME = "ebbtide"
CONTEXT = f"kind-{NAME}"
NODE_IMAGE = "kindest/node:v1.34.0@sha256:7416a61b42b1662ca6ca89f02028ac133a309a2a30ba309614e8ec94d976dc5a"
KIND = GoProgram("kind", "kind", "sigs.k8s.io/kind")
REGISTRY_IMAGE = "registry:3.0.0@sha256:6c5666b861f3505b116bb9aa9b25175e71210414bd010d92035ff64018f9457e"
REGISTRY_NAME = f"{NAME}-registry"
REGISTRY = f"127.0.0.1:{kubernetes.PORTS.registry}"
CREATE_WAIT = "180s"


def config(models: Path) -> str:
    """Return kind's configuration: a node for the platform and one that becomes the GPU pool. The gateway's node port
    is published on loopback; the weights are in both nodes, read-only, at the path they have on this machine."""

    def node(role: str, **more: Any) -> dict[str, Any]:
        weights = {"hostPath": str(models), "containerPath": str(models), "readOnly": True}
        return {"role": role, "image": NODE_IMAGE, "extraMounts": [weights], **more}

    door = {
        "containerPort": control_plane.NODE_PORT_GATEWAY,
        "hostPort": kubernetes.PORTS.gateway,
        "listenAddress": "127.0.0.1",
        "protocol": "TCP",
    }
    return yaml.safe_dump(
        {
            "kind": "Cluster",
            "apiVersion": "kind.x-k8s.io/v1alpha4",
            "name": NAME,
            "networking": {"apiServerAddress": "127.0.0.1"},
            "nodes": [node("control-plane", extraPortMappings=[door]), node("worker")],
        },
        sort_keys=False,
    )


def hosts_toml() -> tuple[str, str]:
    """Return folder and text that make a node's containerd find the registry, which is not on the node's loopback."""
    return f"/etc/containerd/certs.d/{REGISTRY}", f'[host."http://{REGISTRY_NAME}:5000"]\n'


def run_registry(data: Path, user: str) -> list[str]:
    """Return Docker's `run …` arguments for the registry; its images are in the cache, as those of the lab's are."""
    return [
        *("run", "--detach", "--name", REGISTRY_NAME, "--network", "bridge", "--user", user),
        *("--publish", f"{REGISTRY}:5000", "--volume", f"{data}:/var/lib/registry", REGISTRY_IMAGE),
    ]


@dataclass(frozen=True)
class KindCluster:
    """Two containers as nodes and one as registry. `down` deletes all three; the images stay in the cache."""

    at: Paths
    title: str = "cluster (kind: 2 nodes in Docker, everything on loopback)"

    def refuse(self) -> None:
        """Refuse nothing: the user has nothing to provide."""

    def packages(self) -> set[str]:
        return set()

    def programs(self) -> list[GoProgram]:
        kubectl = [p for p in go_programs.KUBERNETES if p.name == "kubectl"]
        return kubectl if shutil.which("kind") else [*kubectl, KIND]

    def start(self) -> None:
        at, text = self.at, config(self.at.models)
        stamp = at.state / "kind.stamp"
        for folder in (at.models, at.registry):
            folder.mkdir(parents=True, exist_ok=True)
        if not (
            build_stamps.is_done(stamp, build_stamps.key(text))
            and kubernetes.kubectl(at, "get", "--raw=/readyz", check=False)
        ):
            self._delete()
            (at.state / "kind.yaml").write_text(text)
            self._kind("create", "cluster", "--config", str(at.state / "kind.yaml"), "--wait", CREATE_WAIT)
            build_stamps.mark_done(stamp, build_stamps.key(text))
        self._connect_registry()

    def since(self) -> None:
        return None

    def furnish(self, sources: Reachable) -> LocalFacts:
        at = self.at
        with step("platform images") as running:
            keda = docker.push_keda(at, f"{REGISTRY}/{NAME}", running.note)
        with step("advertised GPUs"):
            nodes = gpu_nodes.listed(at)
            chosen = tuple(node["metadata"]["name"] for node in nodes if not gpu_nodes.is_control_plane(node))
            for node in nodes:
                name = node["metadata"]["name"]
                if gpu_nodes.is_control_plane(node):  # the only node that the GPU pool's taint leaves to the platform
                    kubernetes.kubectl(at, "taint", "node", name, f"{gpu_nodes.CONTROL_PLANE}-", check=False)
                else:
                    gpu_nodes.advertise(at, name, kubernetes.GPUS)
        with step("weights of SmolLM2-135M-Instruct") as running:
            model_cache.ensure_model(at, running.note, from_hub=sources.hub)
        return LocalFacts(
            kubeconfig=str(at.kubeconfig),
            context=CONTEXT,
            registry=f"{REGISTRY}/{NAME}",
            models_dir=str(at.models),
            gpu_nodes=chosen,
            gateway_url=f"http://127.0.0.1:{kubernetes.PORTS.gateway}",
            node_port=control_plane.NODE_PORT_GATEWAY,
            keda_image=keda,
            keda_manifests_dir=str(at.cache / "keda"),
        )

    def stop(self) -> None:
        self._delete()
        if docker.has("container", REGISTRY_NAME):
            docker.docker("rm", "--force", REGISTRY_NAME)
        (self.at.state / "kind.stamp").unlink(missing_ok=True)

    def _delete(self) -> None:
        """Delete the cluster, also what a killed `create` left."""
        if any(docker.has("container", f"{NAME}-{role}") for role in ("control-plane", "worker")):
            self._kind("delete", "cluster", "--name", NAME)

    def _kind(self, *args: str) -> None:
        program = shutil.which("kind") or str(self.at.bin / "kind")
        if not Path(program).exists():
            raise LocalProblem("the kind program is not there", "run `make local` again: it builds it")
        argv = [program, *args, "--kubeconfig", str(self.at.kubeconfig)]
        run_logged(argv, self.at.logs / "kind.log", fix="see the log, then run `make local` again")

    def _connect_registry(self) -> None:
        """Run the registry, join it to the nodes' network and point every node at it; parts in place stay."""
        inspected: list[dict[str, Any]] = []
        if docker.has("container", REGISTRY_NAME):
            inspected = json.loads(docker.docker("container", "inspect", REGISTRY_NAME))
        if not (inspected and inspected[0]["State"]["Running"]):
            if inspected:
                docker.docker("rm", "--force", REGISTRY_NAME)
            docker.docker(*run_registry(self.at.registry, docker.run_as()))
            inspected = []
        if not (inspected and "kind" in inspected[0]["NetworkSettings"]["Networks"]):
            docker.docker("network", "connect", "kind", REGISTRY_NAME)
        folder, text = hosts_toml()
        for node in gpu_nodes.listed(self.at):
            script = f"mkdir -p '{folder}' && cat > '{folder}/hosts.toml'"
            docker.docker("exec", "--interactive", node["metadata"]["name"], "sh", "-c", script, stdin=text)
