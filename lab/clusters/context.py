"""The user's own cluster, named by a kube context: nothing is made but what the program makes in it.

The context alone is copied into the state folder, so that nothing here can touch another context of the user's.
"""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from components.platforms.local.facts import LocalFacts
from infra import kube_client
from infra.atomic_write import atomic_write
from infra.console import say, step
from infra.errors import LocalProblem
from infra.workspace import Paths
from lab import docker, gpu_nodes, model_cache
from lab.clusters.choice import ClusterOptions
from lab.machine import control_plane
from lab.toolchain import go_programs
from lab.toolchain.go_programs import GoProgram
from lab.toolchain.reachable import Reachable


def missing(options: ClusterOptions, nodes: Sequence[gpu_nodes.Node], docker_answers: bool) -> list[str]:
    """Return everything that keeps the stack from this cluster, each with its remedy; all at once."""
    names = [node["metadata"]["name"] for node in nodes]
    lacks = []
    if options.registry is None:
        lacks.append("--registry host[:port]/prefix (or EBBTIDE_REGISTRY): where images go, from here and there")
    if options.models_dir is None:
        lacks.append("--models-dir /folder (or EBBTIDE_MODELS_DIR): where the GPU nodes have the weights")
    if not options.gpu_nodes and not gpu_nodes.with_gpus(nodes):
        lacks.append(f"--gpu-node NAME: no node offers {gpu_nodes.GPU} by itself; nodes: {', '.join(names) or 'none'}")
    for unknown in sorted(set(options.gpu_nodes) - set(names)):
        lacks.append(f"--gpu-node {unknown}: there is no such node; nodes: {', '.join(names) or 'none'}")
    if options.gateway_url is None and not gpu_nodes.addresses(nodes):
        lacks.append("--gateway-url URL (or EBBTIDE_GATEWAY_URL): no node has an address to reach its node port at")
    if not docker_answers:
        lacks.append("a running Docker: it builds and pushes the images")
    return lacks


def _nodes(context: str | None) -> list[dict[str, Any]]:
    """Return the cluster's nodes, read without kubectl, which may not be built yet. Raises ``LocalProblem``."""
    try:
        with kube_client.client_of(None, context) as api:
            answer = api.get("/api/v1/nodes")
    except httpx.HTTPError as error:
        raise LocalProblem(f"--context {context}: no answer ({error})", "see that `kubectl get nodes` works") from None
    if answer.status_code != 200:
        raise LocalProblem(
            f"--context {context}: listing nodes answered {answer.status_code}", "see that `kubectl get nodes` works"
        )
    return list(answer.json()["items"])


def facts(options: ClusterOptions, nodes: Sequence[gpu_nodes.Node], keda_image: str, at: Paths) -> LocalFacts:
    """Return the program's facts about the cluster; call this only when nothing is ``missing``."""
    assert options.context
    assert options.registry
    assert options.models_dir
    port = control_plane.NODE_PORT_GATEWAY
    return LocalFacts(
        kubeconfig=str(at.kubeconfig),
        context=options.context,
        registry=options.registry,
        models_dir=options.models_dir,
        gpu_nodes=options.gpu_nodes or tuple(gpu_nodes.with_gpus(nodes)),
        gateway_url=options.gateway_url or f"http://{gpu_nodes.addresses(nodes)[0]}:{port}",
        node_port=port,
        keda_image=keda_image,
        registry_insecure=False,
        keda_manifests_dir=str(at.cache / "keda"),
    )


@dataclass(frozen=True)
class ContextCluster:
    """The user's cluster, at no extra cost. `down` leaves it as it is; `pulumi destroy` removes what `up` put in."""

    at: Paths
    options: ClusterOptions

    @property
    def title(self) -> str:
        return f"cluster of the kube context {self.options.context}"

    def refuse(self) -> None:
        lacks = missing(self.options, _nodes(self.options.context), docker.answers())
        if lacks:
            raise LocalProblem(
                "\n".join([f"--context {self.options.context}: these are missing", *(f"  - {each}" for each in lacks)]),
                "give them all, then run `ebbtide local up` again",
            )

    def packages(self) -> set[str]:
        return set()

    def programs(self) -> list[GoProgram]:
        return [p for p in go_programs.KUBERNETES if p.name == "kubectl"]

    def start(self) -> None:
        view = ["config", "view", "--raw", "--flatten", "--minify", f"--context={self.options.context}"]
        done = subprocess.run([str(self.at.bin / "kubectl"), *view], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise LocalProblem(f"--context {self.options.context}: {done.stderr.strip()}", "see the message above")
        atomic_write(self.at.kubeconfig, done.stdout, 0o600)

    def since(self) -> None:
        return None

    def furnish(self, sources: Reachable) -> LocalFacts:
        at = self.at
        with step("platform images") as running:
            assert self.options.registry
            keda = docker.push_keda(at, self.options.registry, running.note)
        with step("weights of SmolLM2-135M-Instruct") as running:
            model_cache.ensure_model(at, running.note, from_hub=sources.hub)
        if self.options.models_dir != str(at.models):
            say(f"    {self.options.models_dir} on the GPU nodes must hold what {at.models} holds here")
        return facts(self.options, gpu_nodes.listed(at), keda, at)

    def stop(self) -> None:
        say(f"    {self.options.context} is yours and stays; `pulumi destroy -s local` takes the stack out of it")
