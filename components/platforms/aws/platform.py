"""The AWS ``Platform``: the parts in the order in which they need each other."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import cast

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from components.platforms.aws import cluster as clusters
from components.platforms.aws import network as networks
from components.platforms.aws.addons import ClusterAddons, NodeAddons
from components.platforms.aws.autoscaler import AwsAutoscaler
from components.platforms.aws.cluster import AwsCluster, Cluster
from components.platforms.aws.gpu_pool import AwsGpuPool
from components.platforms.aws.ingress import AwsLoadBalancerController, ingress
from components.platforms.aws.karpenter import AwsKarpenter
from components.platforms.aws.karpenter_pool import AwsKarpenterPool
from components.platforms.aws.kubeconfig import kubeconfig
from components.platforms.aws.model_store import AwsModelStore
from components.platforms.aws.names import cluster_arn
from components.platforms.aws.network import AwsNetwork, Network
from components.platforms.aws.nodes import AwsSystemPool, NodeRole
from components.platforms.aws.registry import AwsRegistry
from components.platforms.aws.settings import AwsSettings
from components.platforms.aws.tables import node_image_key
from components.platforms.contract import About, Platform, Pool, PoolRequest
from components.platforms.priority_expander import priorities

STORAGE_CLASS = "ebbtide-gp3"
_PRIVATE = ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")


def tags(about: About) -> dict[str, str]:
    """Return the tags of everything in the stack, so that a bill and a clean-up find it."""
    return {"ebbtide:stack": about.name, "ebbtide:environment": about.environment}


def handed_on(request: PoolRequest) -> Pool:
    """Return the pool as models see it: EKS puts no taint of its own on GPU or spot nodes, so only the image is
    resolved."""
    return replace(request.pool, node_image=node_image_key(request.pool.node_image))


class AwsPlatform(pulumi.ComponentResource):
    """A cluster on AWS with GPU pools at zero, a registry, a bucket of weights and a load balancer; around an existing
    cluster, only what it lacks of these.

    At rest it costs the control plane, the system nodes, the NAT gateways, the load balancer, and the GB stored:
    docs/clouds/aws.md has the list. No GPU is billed until a pod asks for one. The first `up` takes 20 to 30 minutes.
    """

    platform: Platform

    def __init__(
        self,
        settings: AwsSettings,
        pools: Mapping[str, PoolRequest],
        about: About,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:platforms:AwsPlatform", about.name, None, opts)
        self._settings, self._about, self._tags = settings, about, tags(about)
        self._aws = aws.Provider(
            f"{about.name}-aws",
            region=settings.region,
            # credentials for another account are refused when the provider starts, before it reads or makes anything
            allowed_account_ids=[settings.account],
            default_tags={"tags": self._tags},
            opts=pulumi.ResourceOptions(parent=self),
        )
        self._on_aws = pulumi.ResourceOptions(parent=self, providers=[self._aws])
        self._key = self._stack_key()
        network = self._network()
        cluster = self._cluster(network)
        role = NodeRole(about.name, settings.region, self._on_aws)
        provider = self._kubernetes(cluster)
        self._inside = pulumi.ResourceOptions(parent=self, providers=[self._aws, provider])
        self._in_cluster = provider
        node_ready = () if settings.adopted else (NodeAddons(about.name, cluster, self._on_aws),)
        base = node_ready if settings.adopted else (*node_ready, *self._system(cluster, network, role, node_ready))
        provisioned = self._pools(pools, cluster, network, role, base)
        registry = AwsRegistry(
            about.name, settings.account, settings.region, self._key.arn, about.protect, self._invoke(), self._on_aws
        )
        store = AwsModelStore(
            about.name, settings.account, settings.region, cluster, self._key.arn, about.protect, self._on_aws
        )
        self.platform = Platform(
            kind="aws",
            provider=provider,
            pools={name: handed_on(request) for name, request in pools.items()},
            registry=registry.registry,
            model_store=store.store,
            ingress=ingress(settings.ingress, about, network, self._reachable_from(), self._tags),
            storage_class=settings.storage_class if settings.adopted else STORAGE_CLASS,
            ready=(*base, *provisioned, *self._load_balancer(cluster, network, base), *self._storage(base)),
        )
        self.register_outputs({"cluster": cluster.name})

    def _invoke(self) -> pulumi.InvokeOptions:
        return pulumi.InvokeOptions(parent=self, provider=self._aws)

    def _stack_key(self) -> aws.kms.Key:
        """Create one key for secrets in the cluster, images and weights. Its deletion can be undone for 30 days."""
        name = self._about.name
        own = pulumi.ResourceOptions(parent=self, provider=self._aws, protect=self._about.protect)
        key = aws.kms.Key(
            f"{name}-key",
            description=f"{name}: secrets, images, weights",
            enable_key_rotation=True,
            deletion_window_in_days=30,
            opts=own,
        )
        aws.kms.Alias(
            f"{name}-key",
            name=f"alias/{name}",
            target_key_id=key.key_id,
            opts=pulumi.ResourceOptions(parent=self, provider=self._aws),
        )
        return key

    def _network(self) -> Network:
        settings, about = self._settings, self._about
        if settings.network.adopt is not None:
            return networks.adopted(settings.network)
        nat = settings.network.nat_gateways(about.environment)
        return AwsNetwork(about.name, settings.region, settings.network, nat, self._on_aws).network

    def _cluster(self, network: Network) -> Cluster:
        settings, about = self._settings, self._about
        if settings.cluster.adopt is not None:
            return clusters.adopted(settings.cluster.adopt, self._invoke())
        return AwsCluster(
            about.name, settings.region, settings.cluster, network, self._key.arn, about.protect, self._on_aws
        ).cluster

    def _kubernetes(self, cluster: Cluster) -> k8s.Provider:
        settings = self._settings
        known = pulumi.Output.all(cluster.endpoint, cluster.authority)
        access = known.apply(lambda outputs: kubeconfig(cluster.name, outputs[0], outputs[1], settings.region))
        return k8s.Provider(
            "cluster",
            kubeconfig=cast("pulumi.Output[str]", pulumi.Output.secret(access)),
            # the ARN identifies the cluster: a new address or certificate must replace nothing
            cluster_identifier=cluster_arn(settings.account, settings.region, cluster.name),
            enable_config_map_mutable=True,
            enable_secret_mutable=True,
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _system(
        self, cluster: Cluster, network: Network, role: NodeRole, after: tuple[pulumi.Resource, ...]
    ) -> tuple[pulumi.Resource, ...]:
        name, settings = self._about.name, self._settings
        pool = AwsSystemPool(
            name, settings.cluster.system_pool, cluster, network, role, self._tags, after, self._on_aws
        )
        return pool, ClusterAddons(name, settings.region, cluster, [pool], self._on_aws)

    def _pools(
        self,
        pools: Mapping[str, PoolRequest],
        cluster: Cluster,
        network: Network,
        role: NodeRole,
        base: tuple[pulumi.Resource, ...],
    ) -> list[pulumi.Resource]:
        name, settings, about = self._about.name, self._settings, self._about
        idle, protect = settings.node_idle.seconds, about.protect
        if settings.node_provisioning == "karpenter":
            brings = list(base)
            if not settings.adopted:
                # EKS makes the access entry of a node group's role by itself; Karpenter's nodes need one made by the
                # stack, and a role can have only one. Source: aws/containers-roadmap 2425
                role = NodeRole(f"{name}-karpenter", settings.region, self._on_aws)
            if settings.installs_autoscaler:
                replicas = min(2, settings.cluster.system_pool.min)
                region, account = settings.region, settings.account
                brings.append(AwsKarpenter(name, region, account, cluster, role, replicas, base, self._inside))
            release = cast(str, settings.node_image_release)  # already checked
            karpenter_pools = [
                AwsKarpenterPool(
                    name, each, release, cluster, network, role, idle, self._tags, protect, brings, self._inside
                )
                for each in pools.values()
            ]
            return [*brings, *karpenter_pools]
        groups = {
            key: AwsGpuPool(name, each, cluster, network, role, idle, self._tags, protect, base[:1], self._on_aws)
            for key, each in pools.items()
        }
        scaler = []
        if settings.installs_autoscaler:
            order = _order({key: each.preference for key, each in pools.items()}, groups)
            scaler.append(AwsAutoscaler(name, settings.region, cluster, base, order, self._inside))
        return [*scaler, *groups.values()]

    def _load_balancer(
        self, cluster: Cluster, network: Network, base: tuple[pulumi.Resource, ...]
    ) -> list[pulumi.Resource]:
        settings = self._settings
        if not settings.installs_load_balancer_controller:
            return []
        return [AwsLoadBalancerController(self._about.name, settings.region, cluster, network, base, self._inside)]

    def _reachable_from(self) -> tuple[str, ...]:
        """Return the networks that may reach a load balancer without ``allowedNetworks``: the VPC; any private network
        where the VPC is adopted, whose addresses are not known."""
        return _PRIVATE if self._settings.network.adopt else (self._settings.network.cidr,)

    def _storage(self, base: tuple[pulumi.Resource, ...]) -> list[pulumi.Resource]:
        """Create a storage class that encrypts: EKS has none. Source: EKS user guide, Store Kubernetes volumes with
        Amazon EBS."""
        if self._settings.adopted:
            return []
        storage_class = k8s.storage.v1.StorageClass(
            f"{self._about.name}-storage",
            metadata={"name": STORAGE_CLASS},
            provisioner="ebs.csi.aws.com",
            parameters={"type": "gp3", "encrypted": "true"},
            reclaim_policy="Delete",
            allow_volume_expansion=True,
            volume_binding_mode="WaitForFirstConsumer",  # in the zone of the pod
            opts=pulumi.ResourceOptions(parent=self, provider=self._in_cluster, depends_on=[*base]),
        )
        return [storage_class]


def _order(
    preferences: Mapping[str, int], groups: Mapping[str, AwsGpuPool]
) -> pulumi.Output[dict[str, list[str]]] | None:
    """Return the autoscaler's order of the pools' groups, by EKS's names for them; None where no model has a choice."""
    if not any(preferences.values()):
        return None
    names = pulumi.Output.all(**{key: groups[key].scaling_group for key in preferences})
    # the whole name is matched: one pool's may begin like another's
    return names.apply(
        lambda group_names: priorities(
            {f"^{re.escape(group_names[key])}$": preference for key, preference in preferences.items()}
        )
    )


def build(settings: object, pools: Mapping[str, PoolRequest], about: About) -> Platform:
    """Make the place the stack file describes."""
    return AwsPlatform(cast(AwsSettings, settings), pools, about).platform
