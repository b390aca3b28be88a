"""The GKE cluster: made private, or adopted by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

import pulumi
import pulumi_gcp as gcp

from components.platforms.contract import About
from components.platforms.gcp.encryption import StackKey
from components.platforms.gcp.kubeconfig import kubeconfig
from components.platforms.gcp.names import cluster_path, fitted, labels, workload_pool
from components.platforms.gcp.network import Network
from components.platforms.gcp.node_identity import SCOPES, NodeIdentity
from components.platforms.gcp.settings import SYSTEM_DISK_GIB, GcpSettings
from components.platforms.maintenance import MaintenanceWindow, window

c = gcp.container


@dataclass(frozen=True)
class Cluster:
    """A cluster to add pools to. ``path`` identifies it for good; ``subnet`` is its nodes'; ``ready`` is what must
    exist before a pod runs."""

    name: str
    path: str
    subnet: pulumi.Input[str]
    kubeconfig: pulumi.Output[str]
    ready: tuple[pulumi.Resource, ...] = field(default=())


def cluster_args(
    settings: GcpSettings,
    about: About,
    network: Network,
    key: pulumi.Input[str],
    node_account: pulumi.Input[str],
) -> gcp.container.ClusterArgs:
    """Build the whole cluster but its pools. Sources: GKE documentation, Harden your cluster; pulumi-gcp 10.2."""
    cluster = settings.cluster
    return c.ClusterArgs(
        name=cluster_name(settings, about),
        location=settings.region,
        node_locations=list(settings.network.zones) or None,
        resource_labels=labels(about),
        # a lock in the provider, which `pulumi state unprotect` does not open
        deletion_protection=about.protect if cluster.deletion_protection is None else cluster.deletion_protection,
        min_master_version=cluster.version,
        release_channel=c.ClusterReleaseChannelArgs(channel=cluster.release_channel),
        maintenance_policy=maintenance_policy(window(cluster.maintenance, about.environment)),
        # GKE makes a first pool with every cluster; it is removed at once, and until then must not run as the project's
        # default account, which many organisations have switched off
        remove_default_node_pool=True,
        initial_node_count=1,
        node_config=c.ClusterNodeConfigArgs(
            service_account=node_account,
            oauth_scopes=list(SCOPES),
            shielded_instance_config=c.ClusterNodeConfigShieldedInstanceConfigArgs(enable_secure_boot=True),
        ),
        network=network.network,
        subnetwork=network.subnet,
        networking_mode="VPC_NATIVE",
        ip_allocation_policy=c.ClusterIpAllocationPolicyArgs(
            cluster_secondary_range_name=network.pods_range, services_secondary_range_name=network.services_range
        ),
        datapath_provider="ADVANCED_DATAPATH",  # Dataplane V2: without it nothing enforces a NetworkPolicy
        # the models' NetworkPolicy lets them ask the DNS pods of kube-system, not an address outside the cluster
        dns_config=c.ClusterDnsConfigArgs(cluster_dns="KUBE_DNS"),
        private_cluster_config=c.ClusterPrivateClusterConfigArgs(
            enable_private_nodes=True, enable_private_endpoint=not cluster.api_allowed_networks
        ),
        master_authorized_networks_config=authorized_networks(cluster.api_allowed_networks),
        control_plane_endpoints_config=c.ClusterControlPlaneEndpointsConfigArgs(
            dns_endpoint_config=c.ClusterControlPlaneEndpointsConfigDnsEndpointConfigArgs(
                allow_external_traffic=cluster.dns_endpoint
            )
        ),
        anonymous_authentication_config=c.ClusterAnonymousAuthenticationConfigArgs(mode="LIMITED"),
        master_auth=c.ClusterMasterAuthArgs(
            client_certificate_config=c.ClusterMasterAuthClientCertificateConfigArgs(issue_client_certificate=False)
        ),
        enable_legacy_abac=False,
        enable_shielded_nodes=True,
        workload_identity_config=c.ClusterWorkloadIdentityConfigArgs(workload_pool=workload_pool(settings.project)),
        database_encryption=c.ClusterDatabaseEncryptionArgs(state="ENCRYPTED", key_name=key),
        security_posture_config=c.ClusterSecurityPostureConfigArgs(mode="BASIC"),
        # GKE always logs who changed what (admin activity) in Cloud Audit Logs; these are the control plane's own.
        # Source: GKE documentation, Audit policy
        logging_config=c.ClusterLoggingConfigArgs(
            enable_components=["SYSTEM_COMPONENTS", "APISERVER", "CONTROLLER_MANAGER", "SCHEDULER", "WORKLOADS"]
        ),
        monitoring_config=c.ClusterMonitoringConfigArgs(
            enable_components=["SYSTEM_COMPONENTS"],
            # billed by the sample, and the stack brings its own Prometheus
            managed_prometheus=c.ClusterMonitoringConfigManagedPrometheusArgs(enabled=False),
        ),
        addons_config=c.ClusterAddonsConfigArgs(
            http_load_balancing=c.ClusterAddonsConfigHttpLoadBalancingArgs(disabled=False)
        ),
        # an idle GPU node costs more than the seconds a new one takes
        cluster_autoscaling=c.ClusterClusterAutoscalingArgs(enabled=False, autoscaling_profile="OPTIMIZE_UTILIZATION"),
    )


def maintenance_policy(weekly: MaintenanceWindow | None) -> gcp.container.ClusterMaintenancePolicyArgs | None:
    """Keep GKE's own upgrades to the window; days are in UTC. Source: GKE documentation, Maintenance windows and
    exclusions."""
    if weekly is None:
        return None
    first, last = weekly.first, weekly.first + timedelta(hours=weekly.hours)
    return c.ClusterMaintenancePolicyArgs(
        recurring_window=c.ClusterMaintenancePolicyRecurringWindowArgs(
            start_time=f"{first:%Y-%m-%dT%H:%M:%SZ}",
            end_time=f"{last:%Y-%m-%dT%H:%M:%SZ}",
            recurrence=f"FREQ=WEEKLY;BYDAY={f'{first:%a}'[:2].upper()}",
        )
    )


def authorized_networks(allowed: Sequence[str]) -> gcp.container.ClusterMasterAuthorizedNetworksConfigArgs:
    """Let the API's address be reached from ``allowed``, and always from the cluster's own subnet."""
    return c.ClusterMasterAuthorizedNetworksConfigArgs(
        gcp_public_cidrs_access_enabled=False,
        cidr_blocks=[
            c.ClusterMasterAuthorizedNetworksConfigCidrBlockArgs(cidr_block=cidr, display_name=f"allowed-{index}")
            for index, cidr in enumerate(allowed)
        ],
    )


def cluster_name(settings: GcpSettings, about: About) -> str:
    """Return the adopted cluster's name, or the stack's in at most 40 characters."""
    return settings.cluster.adopt or fitted(about.name, 40)


def system_pool_args(
    settings: GcpSettings, about: About, cluster: pulumi.Input[str], node_account: pulumi.Input[str]
) -> gcp.container.NodePoolArgs:
    """Build the nodes without a GPU, at least ``min``, for what always runs."""
    pool = settings.cluster.system_pool
    return c.NodePoolArgs(
        name="system",
        cluster=cluster,
        location=settings.region,
        node_locations=list(settings.network.zones) or None,
        initial_node_count=1,
        autoscaling=c.NodePoolAutoscalingArgs(
            total_min_node_count=pool.min, total_max_node_count=pool.max, location_policy="BALANCED"
        ),
        management=c.NodePoolManagementArgs(auto_repair=True, auto_upgrade=True),
        upgrade_settings=c.NodePoolUpgradeSettingsArgs(max_surge=1, max_unavailable=0),
        network_config=c.NodePoolNetworkConfigArgs(enable_private_nodes=True),
        node_config=c.NodePoolNodeConfigArgs(
            machine_type=pool.machine,
            image_type="COS_CONTAINERD",
            boot_disk=c.NodePoolNodeConfigBootDiskArgs(disk_type="pd-balanced", size_gb=SYSTEM_DISK_GIB),
            service_account=node_account,
            oauth_scopes=list(SCOPES),
            resource_labels=labels(about),
            metadata={"disable-legacy-endpoints": "true"},
            shielded_instance_config=c.NodePoolNodeConfigShieldedInstanceConfigArgs(
                enable_secure_boot=True, enable_integrity_monitoring=True
            ),
            workload_metadata_config=c.NodePoolNodeConfigWorkloadMetadataConfigArgs(mode="GKE_METADATA"),
        ),
    )


class GkeCluster(pulumi.ComponentResource):
    """A regional, private cluster with one small pool. At rest it costs the cluster's management fee and the system
    pool's nodes (docs/clouds/gcp.md); it makes no GPU pool. Creation takes about a quarter of an hour."""

    result: Cluster

    def __init__(
        self,
        settings: GcpSettings,
        about: About,
        network: Network,
        key: StackKey,
        nodes: NodeIdentity,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:platforms:GkeCluster", "cluster", None, opts)
        cluster = c.Cluster(
            "gke",
            cluster_args(settings, about, network, key.key.id, nodes.email),
            opts=pulumi.ResourceOptions(
                parent=self,
                protect=about.protect or None,
                depends_on=[*network.ready, key.cluster_may, nodes.granted],
                # both describe the first pool, which is gone
                ignore_changes=["nodeConfig", "initialNodeCount"],
            ),
        )
        system = c.NodePool(
            "system-pool",
            system_pool_args(settings, about, cluster.id, nodes.email),
            opts=pulumi.ResourceOptions(
                parent=self,
                delete_before_replace=True,  # the name is taken as long as the old one exists
                ignore_changes=["initialNodeCount", "nodeCount"],
            ),
        )
        name = cluster_name(settings, about)
        # the outputs for reaching the API exist before its nodes do, and are of no use until then
        self.result = Cluster(
            name=name,
            path=cluster_path(settings.project, settings.region, name),
            subnet=network.subnet,
            kubeconfig=pulumi.Output.secret(_kubeconfig(settings, name, cluster)),
            ready=(system,),
        )
        self.register_outputs({"name": cluster.name})


def _kubeconfig(settings: GcpSettings, name: str, cluster: gcp.container.Cluster) -> pulumi.Output[str]:
    if settings.cluster.dns_endpoint:
        return cluster.control_plane_endpoints_config.apply(
            lambda endpoints: kubeconfig(name, str(endpoints.dns_endpoint_config.endpoint), None)  # type: ignore[union-attr]
        )
    certificate = cluster.master_auth.apply(lambda auth: str(auth.cluster_ca_certificate))
    return pulumi.Output.all(cluster.endpoint, certificate).apply(
        lambda outputs: kubeconfig(name, outputs[0], outputs[1])
    )


def adopted_cluster(settings: GcpSettings, name: str, provider: gcp.Provider) -> Cluster:
    """Read an existing cluster in the stack's region. It must have Workload Identity (else no pod can read the bucket)
    and enforce NetworkPolicies.

    Raises ``RunError`` for one that does not exist or lacks them, before anything is made.
    """
    at = f"platform.cluster.adopt: {name!r}"
    where = f"{settings.project} in {settings.region}"
    try:
        cluster = c.get_cluster(
            name=name,
            location=settings.region,
            project=settings.project,
            opts=pulumi.InvokeOptions(provider=provider),
        )
    except Exception as error:  # raised by the engine; its class is no part of the interface
        raise pulumi.RunError(f"{at} was not found in {where}: {error}; name a cluster of that region") from None
    if not cluster.endpoint:
        raise pulumi.RunError(f"{at} is not a cluster of {where}; name a cluster of that region")
    if workload_pool(settings.project) not in [one.workload_pool for one in cluster.workload_identity_configs or []]:
        raise pulumi.RunError(f"{at} has no Workload Identity; switch it on with --workload-pool, or adopt another")
    dataplane_v2 = cluster.datapath_provider == "ADVANCED_DATAPATH"
    if not dataplane_v2 and not any(policy.enabled for policy in cluster.network_policies or []):
        raise pulumi.RunError(f"{at} enforces no NetworkPolicy; adopt a cluster with Dataplane V2")
    if settings.cluster.dns_endpoint:
        endpoint = cluster.control_plane_endpoints_configs[0].dns_endpoint_configs[0].endpoint
        text = kubeconfig(name, endpoint, None)
    else:
        text = kubeconfig(name, cluster.endpoint, cluster.master_auths[0].cluster_ca_certificate)
    path = cluster_path(settings.project, settings.region, name)
    return Cluster(name, path, cluster.subnetwork, pulumi.Output.secret(text))
