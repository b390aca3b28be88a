"""The cluster made from its parts on this machine, as a `LocalCluster`: Linux, root, no Docker."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import datetime

from components.platforms.local.facts import LocalFacts
from infra.console import step
from infra.errors import LocalProblem
from infra.workspace import Paths
from lab import model_cache
from lab.machine import control_plane, debian, kubernetes, namespaces
from lab.toolchain import base_image, go_programs, images, keda
from lab.toolchain.go_programs import GoProgram
from lab.toolchain.reachable import Reachable

REGISTRY = f"127.0.0.1:{kubernetes.PORTS.registry}/ebbtide"
GATEWAY_URL = f"http://127.0.0.1:{kubernetes.PORTS.gateway}"


@dataclass(frozen=True)
class LabCluster:
    """Two nodes in private namespaces, a registry beside them, three ports on loopback."""

    at: Paths
    title: str = "cluster (2 nodes, Kubernetes 1.34, everything on loopback)"

    def refuse(self) -> None:
        """Raise ``LocalProblem`` before the tool chain is built, for a wrong processor or a taken port."""
        if platform.machine() != "x86_64":
            raise LocalProblem(
                f"this machine is {platform.machine()}, allowed is x86_64: the engine's image is locked for it alone",
                "run it on an x86-64 machine",
            )
        if not namespaces.running(self.at):
            kubernetes.refuse_occupied_ports(self.at)

    def packages(self) -> set[str]:
        return {*debian.PROGRAMS.values(), *debian.FILES.values()}

    def programs(self) -> list[GoProgram]:
        return [*go_programs.KUBERNETES, go_programs.REGISTRY, go_programs.COREDNS, go_programs.PAUSE]

    def start(self) -> None:
        kubernetes.start(self.at)

    def since(self) -> datetime | None:
        first = namespaces.running(self.at)
        return first.started_at() if first else None

    def furnish(self, sources: Reachable) -> LocalFacts:
        at = self.at
        with step("platform images") as running:
            images.push_programs(at, f"{REGISTRY}/pause", ["pause"], running.note)
            coredns = images.push_programs(at, f"{REGISTRY}/coredns", ["coredns"], running.note)
            keda_image = images.push_programs(
                at, f"{REGISTRY}/keda", [program.name for program in keda.binaries()], running.note
            )
        with step("nodes Ready, names, advertised GPUs"):
            kubernetes.furnish(at, coredns)
        bases = {}
        if not sources.images:
            with step("base image from Debian packages") as running:
                bases["python"] = base_image.ensure_base(REGISTRY, at, running.note)
        with step("weights of SmolLM2-135M-Instruct") as running:
            model_cache.ensure_model(at, running.note, from_hub=sources.hub)
        return LocalFacts(
            kubeconfig=str(at.kubeconfig),
            context="ebbtide-local",
            registry=REGISTRY,
            models_dir=str(at.models),
            gpu_nodes=(control_plane.GPU.name,),
            gateway_url=GATEWAY_URL,
            node_port=control_plane.NODE_PORT_GATEWAY,
            base_images=bases,
            keda_image=keda_image,
            keda_manifests_dir=str(at.cache / "keda"),
        )

    def stop(self) -> None:
        kubernetes.stop(self.at)
        left = namespaces.cgroups_left()
        if left:
            names = ", ".join(map(str, left))
            raise LocalProblem(f"these cgroups did not go: {names}", "run `ebbtide local down` again")
