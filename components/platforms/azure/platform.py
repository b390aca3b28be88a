"""Azure as a place: every part, wired in the order it is made."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
import pulumi_azure_native as azure
import pulumi_kubernetes as k8s

from components.platforms.azure.cluster import AksCluster, Cluster, adopted_cluster
from components.platforms.azure.encryption import StackKeys
from components.platforms.azure.gpu_pool import GpuPool
from components.platforms.azure.ingress import AzureIngress
from components.platforms.azure.model_store import AzureModelStore
from components.platforms.azure.names import resource_group, scale_set, tags
from components.platforms.azure.network import AzureNetwork, adopted
from components.platforms.azure.registry import AzureRegistry
from components.platforms.azure.rights import Group, confirmed
from components.platforms.azure.settings import AzureSettings
from components.platforms.contract import About, Ingress, Platform, PoolRequest
from components.platforms.priority_expander import CONFIG_MAP, NAMESPACE, config_map_data

STORAGE_CLASS = "managed-csi"
"""A Standard SSD, made where the pod runs; every AKS cluster has the class. Source: AKS documentation, Storage
classes."""


class AzurePlatform(pulumi.ComponentResource):
    """An AKS cluster with GPU pools from zero, a registry, a container of weights and a way in, in one region and one
    resource group.

    At rest, with all pools at zero, it costs the control plane, the system pool's nodes, the NAT gateway, a load
    balancer, the registry, and what weights and audit logs take (docs/clouds/azure.md). It is deleted in reverse order;
    ``about.protect`` forbids that for the cluster, the GPU pools, the weights, the registry and the keys.
    """

    platform: Platform

    def __init__(
        self,
        settings: AzureSettings,
        pools: Mapping[str, PoolRequest],
        about: About,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:platforms:AzurePlatform", about.name, None, opts)
        provider = azure.Provider(
            "azure",
            subscription_id=settings.subscription,
            tenant_id=settings.tenant,
            location=settings.region,
            opts=pulumi.ResourceOptions(parent=self),
        )
        inside = pulumi.ResourceOptions(parent=self, providers=[provider])
        group = self._group(settings, about, provider)
        keys = StackKeys(settings.tenant, about, group, with_cluster=settings.cluster.adopt is None, opts=inside)
        cluster = self._cluster(settings, about, group, keys, provider, any_order(pools), inside)
        registry = AzureRegistry(about, group, cluster.kubelet, inside)
        zones = len(settings.network.zones)
        store = AzureModelStore(about, group, keys, zones, cluster.subnet, cluster.issuer, inside)
        after_cluster = pulumi.ResourceOptions(parent=self, providers=[provider], depends_on=list(cluster.ready))
        gpu_pools = {
            name: GpuPool(request, about, cluster.name, cluster.group, cluster.subnet, after_cluster)
            for name, request in pools.items()
        }
        kubernetes = k8s.Provider(
            "cluster",
            kubeconfig=cluster.kubeconfig,
            # a new certificate or endpoint must replace nothing
            cluster_identifier=cluster.id,
            enable_config_map_mutable=True,
            enable_secret_mutable=True,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(cluster.ready)),
        )
        order = self._order(settings, pools, kubernetes)
        ingress = Ingress()
        way_in: tuple[pulumi.Resource, ...] = ()
        if settings.ingress is not None:
            both = pulumi.ResourceOptions(parent=self, providers=[provider, kubernetes])
            azure_ingress = AzureIngress(settings.ingress, settings.tenant, about, group, cluster.issuer, both)
            ingress, way_in = azure_ingress.ingress, azure_ingress.ready
        self.platform = Platform(
            kind=settings.kind,
            provider=kubernetes,
            pools={name: pool.pool for name, pool in gpu_pools.items()},
            registry=registry.registry,
            model_store=store.store,
            identity=store.store.reader,
            ingress=ingress,
            storage_class=STORAGE_CLASS,
            ready=(
                *cluster.ready,
                *registry.ready,
                *store.ready,
                *way_in,
                *(pool.agent_pool for pool in gpu_pools.values()),
                *order,
            ),
        )
        self.register_outputs({"cluster": cluster.id, "account": store.store.account})

    def _group(self, settings: AzureSettings, about: About, provider: azure.Provider) -> Group:
        name = resource_group(about)
        group = azure.resources.ResourceGroup(
            "group",
            resource_group_name=confirmed(name, settings.subscription, settings.tenant, provider),
            location=settings.region,
            tags=tags(about),
            opts=pulumi.ResourceOptions(parent=self, provider=provider, protect=about.protect),
        )
        return Group(group.name, settings.region, settings.subscription)

    def _cluster(
        self,
        settings: AzureSettings,
        about: About,
        group: Group,
        keys: StackKeys,
        provider: azure.Provider,
        ordered: bool,
        inside: pulumi.ResourceOptions,
    ) -> Cluster:
        there, there_group = settings.cluster.adopt, settings.cluster.resource_group
        if there is not None and there_group is not None:
            invoke = pulumi.InvokeOutputOptions(parent=self, provider=provider)
            return adopted_cluster(settings, there, there_group, invoke)
        network = adopted(settings.network) or AzureNetwork(settings.network, about, group, inside).result
        return AksCluster(settings, about, group, network, keys, ordered, inside).result

    def _order(
        self, settings: AzureSettings, pools: Mapping[str, PoolRequest], kubernetes: k8s.Provider
    ) -> list[pulumi.Resource]:
        """Create the table that the priority expander of a cluster made here reads, where a model has several pools.

        Sources: AKS documentation, Use the cluster autoscaler (expander); blog.aks.azure.com, 2025-07-17, Scaling
        safely with spot on AKS."""
        if settings.cluster.adopt is not None or not any_order(pools):
            return []
        table = k8s.core.v1.ConfigMap(
            "pool-order",
            metadata={"name": CONFIG_MAP, "namespace": NAMESPACE},
            data=config_map_data({scale_set(name): request.preference for name, request in pools.items()}),
            opts=pulumi.ResourceOptions(parent=self, provider=kubernetes),
        )
        return [table]


def any_order(pools: Mapping[str, PoolRequest]) -> bool:
    """Return True if some model has several pools."""
    return any(request.preference for request in pools.values())


def build(settings: AzureSettings, pools: Mapping[str, PoolRequest], about: About) -> Platform:
    """Build the place."""
    return AzurePlatform(settings, pools, about).platform
