"""The cluster's properties as AKS takes them: pure functions of plain values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import pulumi
import pulumi_azure_native as azure

from components.platforms.azure.address_plan import DNS_SERVICE, POD_RANGE, SERVICE_RANGE
from components.platforms.azure.patience import LONGEST_STREAM_SECONDS
from components.platforms.azure.settings import ClusterSettings
from components.platforms.maintenance import MaintenanceWindow

aks = azure.containerservice

SYSTEM_POOL: Final = "system"


def api_server(
    settings: ClusterSettings, ways_out: Sequence[pulumi.Input[str]]
) -> aks.ManagedClusterAPIServerAccessProfileArgs:
    """Make the API private where no network is allowed in; else public for those networks and for the nodes, which also
    come from outside. ``az aks command invoke`` is off: it would be a way around the network.

    Source: AKS documentation, API server authorized IP ranges: the cluster egress IP address must be among them.
    """
    if not settings.api_allowed_networks:
        return aks.ManagedClusterAPIServerAccessProfileArgs(
            enable_private_cluster=True,
            enable_private_cluster_public_fqdn=False,
            private_dns_zone="system",
            disable_run_command=True,
        )
    return aks.ManagedClusterAPIServerAccessProfileArgs(
        enable_private_cluster=False,
        authorized_ip_ranges=[*settings.api_allowed_networks, *ways_out],
        disable_run_command=True,
    )


def network_profile(way_out: Literal["natGateway", "route"]) -> aks.ContainerServiceNetworkProfileArgs:
    """Give pods addresses of their own, with Cilium as the data plane: NetworkPolicies hold, also for egress.

    Sources: AKS documentation, Azure CNI powered by Cilium; Customize cluster egress with outbound types.
    """
    return aks.ContainerServiceNetworkProfileArgs(
        network_plugin="azure",
        network_plugin_mode="overlay",
        network_dataplane="cilium",
        network_policy="cilium",
        load_balancer_sku="standard",
        outbound_type="userAssignedNATGateway" if way_out == "natGateway" else "userDefinedRouting",
        pod_cidr=POD_RANGE,
        service_cidr=SERVICE_RANGE,
        dns_service_ip=DNS_SERVICE,
    )


def autoscaler_profile(idle_seconds: int, ordered: bool) -> aks.ManagedClusterPropertiesAutoScalerProfileArgs:
    """Build one profile for all pools. Source of the names and defaults: AKS documentation, Use the cluster autoscaler,
    by which times are in whole minutes.

    A node goes ``idle_seconds`` after its last pod, and not before it has existed that long. A stream may run for an
    hour, and the autoscaler waits for it. A GPU node took 10 to 11 minutes to start (A100, measured), so it gets 25
    before it counts as failed. The GPU operator's DaemonSets and a model's emptyDir do not hold a node. ``ordered``: a
    model has several pools, and the autoscaler follows the table in ``priority_expander.py``; it takes one expander.
    """
    idle = f"{idle_seconds // 60}m"
    return aks.ManagedClusterPropertiesAutoScalerProfileArgs(
        expander="priority" if ordered else "least-waste",
        scan_interval="10s",
        new_pod_scale_up_delay="0s",
        max_node_provision_time="25m",
        scale_down_unneeded_time=idle,
        scale_down_delay_after_add=idle,
        scale_down_unready_time="25m",
        max_graceful_termination_sec=str(LONGEST_STREAM_SECONDS),
        ignore_daemonsets_utilization=True,
        daemonset_eviction_for_empty_nodes=False,
        skip_nodes_with_local_storage="false",
        skip_nodes_with_system_pods="true",
    )


def maintenance_window(window: MaintenanceWindow) -> aks.MaintenanceWindowArgs:
    """Return the weekly window in AKS's terms, in UTC."""
    day = aks.WeeklyScheduleArgs(day_of_week=f"{window.first:%A}", interval_weeks=1)
    return aks.MaintenanceWindowArgs(
        schedule=aks.ScheduleArgs(weekly=day), start_time=f"{window.first:%H:%M}", duration_hours=window.hours
    )


def no_local_dns() -> aks.LocalDNSProfileArgs:
    """Turn off the node's own DNS proxy, so that DNS stays a Service to pods. It answers on a link-local address, which
    the models' and the gateway's NetworkPolicies block for good reason: clouds hand out credentials there."""
    return aks.LocalDNSProfileArgs(mode="Disabled")


def system_pool(
    settings: ClusterSettings,
    zones: Sequence[str],
    subnet: pulumi.Input[str],
    tags: dict[str, str],
    drain_minutes: int,
) -> aks.ManagedClusterAgentPoolProfileArgs:
    """Build the nodes without a GPU. No taint keeps workloads off: KEDA, the gateway and the ingress have no other
    place."""
    pool = settings.system_pool
    return aks.ManagedClusterAgentPoolProfileArgs(
        name=SYSTEM_POOL,
        mode="System",
        type="VirtualMachineScaleSets",
        os_type="Linux",
        os_sku="Ubuntu",
        vm_size=pool.machine,
        count=pool.min,
        enable_auto_scaling=True,
        min_count=pool.min,
        max_count=pool.max,
        availability_zones=list(zones) or None,
        vnet_subnet_id=subnet,
        enable_node_public_ip=False,
        security_profile=aks.AgentPoolSecurityProfileArgs(ssh_access="Disabled"),
        local_dns_profile=no_local_dns(),
        upgrade_settings=aks.AgentPoolUpgradeSettingsArgs(max_surge="1", drain_timeout_in_minutes=drain_minutes),
        tags=tags,
    )


def add_ons(with_certificates: bool) -> dict[str, aks.ManagedClusterAddonProfileArgs]:
    """Return the Secrets Store CSI driver if the ingress takes its certificate from a vault; it looks for a new version
    every two minutes. Source: AKS documentation, Azure Key Vault provider for Secrets Store CSI Driver configuration.
    """
    if not with_certificates:
        return {}
    rotation = {"enableSecretRotation": "true", "rotationPollInterval": "2m"}
    return {"azureKeyvaultSecretsProvider": aks.ManagedClusterAddonProfileArgs(enabled=True, config=rotation)}
