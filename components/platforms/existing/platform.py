"""The ``existing`` ``Platform``: any conformant cluster; its nodes get labels and taints, its registry is used."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pulumi
import pulumi_kubernetes as k8s

from components.platforms.adopted_nodes import AdoptedNodes
from components.platforms.contract import About, Ingress, Platform, PoolRequest, Registry
from components.platforms.existing.nodes import nodes_of
from components.platforms.existing.settings import ExistingSettings
from components.platforms.folder_store import ClaimStore


class ExistingPlatform(pulumi.ComponentResource):
    """An adopted cluster. Creates labels and taints on the nodes named, or found by label at this `up`; never a node, a
    cluster or a registry. Costs nothing beyond the cluster itself."""

    platform: Platform

    def __init__(
        self,
        settings: ExistingSettings,
        pools: Mapping[str, PoolRequest],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:platforms:ExistingPlatform", "existing", None, opts)
        kubeconfig = str(Path(settings.kubeconfig).expanduser())
        provider = k8s.Provider(
            "cluster",
            kubeconfig=kubeconfig,
            context=settings.context,
            # the context names the cluster: a refreshed token in the kubeconfig must replace nothing
            cluster_identifier=settings.context,
            # a changed key is an update: replacing the Secret would replace what mounts it
            enable_config_map_mutable=True,
            enable_secret_mutable=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        with_provider = pulumi.ResourceOptions(parent=self, provider=provider)
        nodes = nodes_of(pools, kubeconfig, settings.context)
        adopted = tuple(AdoptedNodes(name, pools[name].pool, nodes[name], with_provider) for name in pools)
        self.platform = Platform(
            kind="existing",
            provider=provider,
            pools={name: request.pool for name, request in pools.items()},
            registry=Registry(
                settings.registry.address,
                insecure=settings.registry.insecure,
                pull_secret=settings.registry.pull_secret,
            ),
            model_store=ClaimStore(settings.model_store.claim),
            ingress=Ingress(
                settings.ingress.service_type,
                settings.ingress.node_port,
                annotations=dict(settings.ingress.annotations),
                url=settings.ingress.url,
            ),
            storage_class=settings.storage_class,
            ready=adopted,
        )
        self.register_outputs({})


def build(settings: ExistingSettings, pools: Mapping[str, PoolRequest], about: About) -> Platform:
    """Build the place from its settings in the stack file."""
    return ExistingPlatform(settings, pools).platform
