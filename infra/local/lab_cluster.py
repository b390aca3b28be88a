"""The cluster made from its parts on this machine, as a `LocalCluster`: Linux, root, no Docker."""

from __future__ import annotations

import platform
from dataclasses import dataclass
from datetime import datetime

from components.platforms.local.facts import LocalFacts
from infra.local import (
    base_image,
    cluster,
    control_plane,
    debian,
    images,
    keda_build,
    machine,
    model_cache,
    toolchain,
)
from infra.local.paths import Paths
from infra.local.problem import LocalProblem
from infra.local.progress import step
from infra.local.reachable import Reachable
from infra.local.toolchain import GoProgram

REGISTRY = f"127.0.0.1:{cluster.PORTS.registry}/ebbtide"
GATEWAY_URL = f"http://127.0.0.1:{cluster.PORTS.gateway}"


@dataclass(frozen=True)
class LabCluster:
    """Two nodes in private namespaces, a registry beside them, three doors on loopback."""

    at: Paths
    title: str = "cluster (2 nodes, Kubernetes 1.34, everything on loopback)"

    def refuse(self) -> None:
        """What would only fail after the tool chain is built: the wrong processor, a door that is taken."""
        if platform.machine() != "x86_64":
            raise LocalProblem(
                f"this machine is {platform.machine()}, allowed is x86_64: the engine's image is locked for it alone",
                "run it on an x86-64 machine",
            )
        if not machine.running(self.at):
            cluster.refuse_taken_doors(self.at)

    def packages(self) -> set[str]:
        return {*debian.PROGRAMS.values(), *debian.FILES.values()}

    def programs(self) -> list[GoProgram]:
        return [*toolchain.KUBERNETES, toolchain.REGISTRY, toolchain.COREDNS, toolchain.PAUSE]

    def start(self) -> None:
        cluster.start(self.at)

    def since(self) -> datetime | None:
        first = machine.running(self.at)
        return first.started_at() if first else None

    def furnish(self, sources: Reachable) -> LocalFacts:
        at = self.at
        with step("platform images") as running:
            images.push_programs(at, f"{REGISTRY}/pause", ["pause"], running.note)
            coredns = images.push_programs(at, f"{REGISTRY}/coredns", ["coredns"], running.note)
            keda = images.push_programs(
                at, f"{REGISTRY}/keda", [program.name for program in keda_build.binaries()], running.note
            )
        with step("nodes Ready, names, advertised GPUs"):
            cluster.furnish(at, coredns)
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
            keda_image=keda,
            keda_manifests_dir=str(at.cache / "keda"),
        )

    def stop(self) -> None:
        cluster.stop(self.at)
        left = machine.cgroups_left()
        if left:
            names = ", ".join(map(str, left))
            raise LocalProblem(f"these cgroups did not go: {names}", "run `ebbtide local down` again")
