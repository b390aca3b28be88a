"""The ``existing`` ``Platform``: any conformant cluster; its nodes get labels and taints, its registry is used."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi
import pulumi_kubernetes as k8s

from components.platforms.adopted_nodes import AdoptedNodes
from components.platforms.contract import Ingress, Platform, Pool, Registry
from components.platforms.folder_store import ClaimStore


@dataclass(frozen=True)
class ExistingSettings:
    """What the administrator of the cluster tells: plain values from the stack file."""

    context: str
    registry: Registry
    model_claim: str
    kubeconfig: str | None = None
    storage_class: str | None = None
    ingress: Ingress = field(default_factory=Ingress)


class ExistingPlatform(pulumi.ComponentResource):
    """An adopted cluster. Creates labels and taints on the nodes named; never a node, a cluster or a registry."""

    platform: Platform

    def __init__(
        self,
        settings: ExistingSettings,
        pools: Mapping[str, Pool],
        nodes: Mapping[str, Sequence[str]],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:platforms:ExistingPlatform", "existing", None, opts)
        provider = k8s.Provider(
            "cluster",
            kubeconfig=settings.kubeconfig,
            context=settings.context,
            # the context names the cluster: a refreshed token in the kubeconfig must replace nothing
            cluster_identifier=settings.context,
            # a changed key is an update: replacing the Secret would replace what mounts it
            enable_config_map_mutable=True,
            enable_secret_mutable=True,
            opts=pulumi.ResourceOptions(parent=self),
        )
        with_provider = pulumi.ResourceOptions(parent=self, provider=provider)
        adopted = tuple(AdoptedNodes(name, pool, nodes.get(name, ()), with_provider) for name, pool in pools.items())
        self.platform = Platform(
            kind="existing",
            provider=provider,
            pools=pools,
            registry=settings.registry,
            model_store=ClaimStore(settings.model_claim),
            ingress=settings.ingress,
            storage_class=settings.storage_class,
            ready=adopted,
        )
        self.register_outputs({})
