"""The local ``Platform``: the contract, filled from the facts about its machine."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
import pulumi_kubernetes as k8s

from components.platforms.adopted_nodes import AdoptedNodes
from components.platforms.contract import About, Ingress, Platform, PoolRequest, Registry
from components.platforms.folder_store import FolderStore
from components.platforms.local.facts import LocalFacts, local_facts
from components.platforms.local.settings import LocalSettings


class LocalPlatform(pulumi.ComponentResource):
    """The cluster on this machine, its registry on loopback and its folder of weights.

    Creates the pools' labels and taints and nothing else. Costs nothing beyond the running cluster.
    """

    platform: Platform

    def __init__(
        self,
        facts: LocalFacts,
        pools: Mapping[str, PoolRequest],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:platforms:LocalPlatform", "local", None, opts)
        mine = pulumi.ResourceOptions(parent=self)
        provider = k8s.Provider(
            "cluster",
            kubeconfig=facts.kubeconfig,
            context=facts.context,
            cluster_identifier=facts.context,
            enable_config_map_mutable=True,
            enable_secret_mutable=True,
            opts=mine,
        )
        with_provider = pulumi.ResourceOptions(parent=self, provider=provider)
        adopted = tuple(
            AdoptedNodes(name, request.pool, request.nodes or facts.gpu_nodes, with_provider)
            for name, request in pools.items()
        )
        self.platform = Platform(
            kind="local",
            provider=provider,
            pools={name: request.pool for name, request in pools.items()},
            registry=Registry(facts.registry, insecure=facts.registry_insecure, base_images=facts.base_images),
            model_store=FolderStore(facts.models_dir, provider),
            ingress=Ingress("NodePort", facts.node_port, url=facts.gateway_url),
            ready=adopted,
        )
        self.register_outputs({})


def build(settings: LocalSettings, pools: Mapping[str, PoolRequest], about: About) -> Platform:
    """Build the place from the facts about its machine. Raises ``pulumi.RunError`` if no local cluster is up."""
    facts = local_facts()
    if facts is None:
        raise pulumi.RunError("the local cluster is not up: run `make local` or `ebbtide local up` first")
    return LocalPlatform(facts, pools).platform
