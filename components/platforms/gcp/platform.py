"""Google Cloud as a place: every part, wired in the order it is made."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
import pulumi_gcp as gcp
import pulumi_kubernetes as k8s

from components.platforms.contract import About, Identity, Ingress, Platform, PoolRequest
from components.platforms.gcp.cluster import Cluster, GkeCluster, adopted_cluster
from components.platforms.gcp.compute_class import compute_class
from components.platforms.gcp.encryption import StackKey
from components.platforms.gcp.gpu_pool import GpuPool
from components.platforms.gcp.ingress import GcpIngress
from components.platforms.gcp.model_store import GcpModelStore
from components.platforms.gcp.names import labels
from components.platforms.gcp.network import GcpNetwork, adopted
from components.platforms.gcp.node_identity import NodeIdentity
from components.platforms.gcp.registry import GcpRegistry
from components.platforms.gcp.settings import GcpSettings

STORAGE_CLASS = "standard-rwo"
"""A balanced disk, made where the pod runs; every GKE cluster has the class. Source: GKE documentation, Persistent
volumes and dynamic provisioning."""


class GcpPlatform(pulumi.ComponentResource):
    """A GKE cluster with GPU pools from zero, a registry, a bucket of weights and a load balancer, in one region.

    At rest, with all pools at zero, it costs the cluster's management fee, the system pool's nodes, Cloud NAT, a load
    balancer, a key, and what images and weights take (docs/clouds/gcp.md). It is deleted in reverse order;
    ``about.protect`` forbids that for the cluster, the GPU pools, the bucket, the registry and the key.
    """

    platform: Platform

    def __init__(
        self,
        settings: GcpSettings,
        pools: Mapping[str, PoolRequest],
        about: About,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:platforms:GcpPlatform", about.name, None, opts)
        google = gcp.Provider(
            "google",
            project=settings.project,
            region=settings.region,
            default_labels=labels(about),
            opts=pulumi.ResourceOptions(parent=self),
        )
        number = confirmed_number(settings.project, google)
        # read before anything is made: a cluster that cannot be adopted is refused here
        name = settings.cluster.adopt
        there = adopted_cluster(settings, name, google) if name is not None else None
        inside = pulumi.ResourceOptions(parent=self, providers=[google])
        key = StackKey(settings.region, settings.project, number, about, inside)
        nodes = NodeIdentity(settings.project, about, inside)
        cluster = there or self._cluster(settings, about, key, nodes, inside)
        after_cluster = pulumi.ResourceOptions(parent=self, providers=[google], depends_on=list(cluster.ready))
        registry = GcpRegistry(settings.region, settings.project, about, nodes.member, inside)
        store = GcpModelStore(settings.region, settings.project, number, about, key, cluster.ready, inside)
        gpu_pools = {
            name: GpuPool(request, settings, about, cluster.path, nodes.email, after_cluster)
            for name, request in pools.items()
        }
        ingress = Ingress()
        way_in: tuple[pulumi.Resource, ...] = ()
        if settings.ingress is not None:
            gcp_ingress = GcpIngress(settings, about, cluster.subnet, inside)
            # the gateway's Ingress refers to these by name only: without this `destroy` would try what is still in use
            ingress, way_in = gcp_ingress.ingress, (gcp_ingress,)
        provider = k8s.Provider(
            "cluster",
            kubeconfig=cluster.kubeconfig,
            # a new certificate or endpoint must replace nothing
            cluster_identifier=cluster.path,
            enable_config_map_mutable=True,
            enable_secret_mutable=True,
            opts=pulumi.ResourceOptions(parent=self, depends_on=list(cluster.ready)),
        )
        node_pools = [pool.node_pool for pool in gpu_pools.values()]
        in_cluster = pulumi.ResourceOptions(parent=self, provider=provider)
        order = compute_class(pools, about, node_pools, in_cluster)
        self.platform = Platform(
            kind=settings.kind,
            provider=provider,
            pools={name: pool.pool for name, pool in gpu_pools.items()},
            registry=registry.registry,
            model_store=store.store,
            identity=Identity(),  # IAM knows the models' service account by its own name: it needs no mark
            ingress=ingress,
            storage_class=STORAGE_CLASS,
            ready=(*cluster.ready, *registry.ready, *way_in, *node_pools, *order),
        )
        self.register_outputs({"cluster": cluster.path, "bucket": store.store.bucket})

    def _cluster(
        self,
        settings: GcpSettings,
        about: About,
        key: StackKey,
        nodes: NodeIdentity,
        inside: pulumi.ResourceOptions,
    ) -> Cluster:
        there = settings.network.adopt
        network = adopted(there, settings) if there is not None else GcpNetwork(settings, about, inside).result
        return GkeCluster(settings, about, network, key, nodes, inside).result


def build(settings: GcpSettings, pools: Mapping[str, PoolRequest], about: About) -> Platform:
    """Build the place."""
    return GcpPlatform(settings, pools, about).platform


def confirmed_number(project: str, provider: gcp.Provider) -> str:
    """Return the project's number, as Google Cloud gives it to these credentials.

    Raises ``RunError`` if they do not see the project, or see another one: nothing has been made by then.
    """
    at = f"platform.project: {project!r}"
    fix = f"log in to an account that may see it (gcloud auth application-default login), or mend {at}"
    try:
        answer = gcp.organizations.get_project(project_id=project, opts=pulumi.InvokeOptions(provider=provider))
    except Exception as error:  # raised by the engine; its class is no part of the interface
        raise pulumi.RunError(f"{at} is not visible to these credentials: {error}; {fix}") from None
    if answer.project_id != project or not answer.number:
        other = answer.project_id or "no project"
        raise pulumi.RunError(f"{at} was asked for and {other!r} answered; {fix}")
    return str(answer.number)
