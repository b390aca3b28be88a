"""The AKS cluster: made, or adopted by name."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_azure_native as azure

from components.platforms.azure import cluster_spec as spec
from components.platforms.azure.encryption import StackKeys
from components.platforms.azure.kubeconfig import kubeconfig
from components.platforms.azure.names import cluster as cluster_name
from components.platforms.azure.names import cluster_id, tags
from components.platforms.azure.network import Network
from components.platforms.azure.patience import drain_minutes
from components.platforms.azure.rights import Group, grant
from components.platforms.azure.settings import AzureSettings
from components.platforms.azure.tables import control_plane_tier
from components.platforms.contract import About
from components.platforms.maintenance import MaintenanceWindow, window

aks = azure.containerservice
WINDOWS = {
    "version-upgrades": "aksManagedAutoUpgradeSchedule",
    "node-image-upgrades": "aksManagedNodeOSUpgradeSchedule",
}
"""AKS's keys for what it upgrades by itself. Source: AKS documentation, Planned maintenance."""
KUBELET = "kubeletidentity"
"""The key under which AKS keeps the identity that pulls images."""


@dataclass(frozen=True)
class Cluster:
    """A cluster to add pools to. ``id`` is known before the cluster exists; ``kubelet`` is the object id of the
    identity its nodes pull with."""

    id: str
    name: pulumi.Input[str]
    group: pulumi.Input[str]
    subnet: pulumi.Input[str]
    issuer: pulumi.Output[str]
    kubelet: pulumi.Output[str]
    kubeconfig: pulumi.Output[str]
    ready: tuple[pulumi.Resource, ...] = ()


class AksCluster(pulumi.ComponentResource):
    """A cluster with private nodes, a private or restricted API, Entra sign-in only, secrets encrypted with the stack's
    key, workload identity, and a system pool. At rest it costs the control plane's hourly fee (only in production, for
    its service level) and the system pool's nodes."""

    result: Cluster

    def __init__(
        self,
        settings: AzureSettings,
        about: About,
        group: Group,
        network: Network,
        keys: StackKeys,
        ordered: bool,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:platforms:AksCluster", "cluster", None, opts)
        self._about, self._group = about, group
        control, kubelet = self._identity("cluster"), self._identity("kubelet")
        rights = [
            self._grant("cluster-uses-kubelet", "Managed Identity Operator", kubelet.id, control),
            self._grant("cluster-uses-subnet", "Network Contributor", network.subnet, control),
            self._grant("cluster-uses-key", "Key Vault Crypto User", keys.vault.id, control),
        ]
        name = cluster_name(about)
        cluster = aks.ManagedCluster(
            "cluster",
            resource_name_=name,
            resource_group_name=group.name,
            location=group.location,
            dns_prefix=name[:54].strip("-"),
            kubernetes_version=settings.cluster.version,
            sku=aks.ManagedClusterSKUArgs(
                name="Base", tier=control_plane_tier(about.protect, settings.cluster.extended)
            ),
            support_plan="AKSLongTermSupport" if settings.cluster.extended else "KubernetesOfficial",
            identity=aks.ManagedClusterIdentityArgs(
                type=aks.ResourceIdentityType.USER_ASSIGNED, user_assigned_identities=[control.id]
            ),
            identity_profile={
                KUBELET: aks.UserAssignedIdentityArgs(
                    resource_id=kubelet.id, client_id=kubelet.client_id, object_id=kubelet.principal_id
                )
            },
            enable_rbac=True,
            disable_local_accounts=True,
            aad_profile=aks.ManagedClusterAADProfileArgs(
                managed=True,
                enable_azure_rbac=True,
                tenant_id=settings.tenant,
                admin_group_object_ids=list(settings.cluster.admin_groups),
            ),
            api_server_access_profile=spec.api_server(settings.cluster, network.ways_out),
            network_profile=spec.network_profile(network.way_out),
            auto_scaler_profile=spec.autoscaler_profile(settings.node_idle.seconds, ordered),
            agent_pool_profiles=[
                spec.system_pool(
                    settings.cluster, settings.network.zones, network.subnet, dict(tags(about)), drain_minutes(about)
                )
            ],
            addon_profiles=spec.add_ons(settings.ingress is not None),
            oidc_issuer_profile=aks.ManagedClusterOIDCIssuerProfileArgs(enabled=True),
            security_profile=aks.ManagedClusterSecurityProfileArgs(
                workload_identity=aks.ManagedClusterSecurityProfileWorkloadIdentityArgs(enabled=True),
                azure_key_vault_kms=_secrets_encryption(keys),
            ),
            auto_upgrade_profile=aks.ManagedClusterAutoUpgradeProfileArgs(
                upgrade_channel="patch", node_os_upgrade_channel="NodeImage"
            ),
            tags=tags(about),
            opts=pulumi.ResourceOptions(
                parent=self,
                protect=about.protect,
                depends_on=[*rights, *network.ready],
                # owned by the autoscaler; in the API's spelling
                ignore_changes=["agentPoolProfiles[*].count"],
            ),
        )
        weekly = window(settings.cluster.maintenance, about.environment)
        if weekly is not None:
            self._maintenance(cluster, weekly)
        self._audit(cluster, keys)
        invoke = pulumi.InvokeOutputOptions(parent=self)
        self.result = Cluster(
            id=cluster_id(settings.subscription, about.name, name),
            name=cluster.name,
            group=group.name,
            subnet=network.subnet,
            issuer=cluster.oidc_issuer_profile.apply(lambda profile: profile.issuer_url if profile else ""),
            kubelet=kubelet.principal_id,
            kubeconfig=_access(cluster.name, group.name, name, settings.tenant, invoke),
            ready=(cluster,),
        )
        self.register_outputs({"cluster": cluster.id})

    def _identity(self, role: str) -> azure.managedidentity.UserAssignedIdentity:
        return azure.managedidentity.UserAssignedIdentity(
            f"{role}-identity",
            resource_name_=f"{self._about.name}-{role}",
            resource_group_name=self._group.name,
            location=self._group.location,
            tags=tags(self._about),
            opts=pulumi.ResourceOptions(parent=self),
        )

    def _grant(
        self, name: str, role: str, scope: pulumi.Input[str], to: azure.managedidentity.UserAssignedIdentity
    ) -> pulumi.Resource:
        mine = pulumi.ResourceOptions(parent=self)
        return grant(name, role, scope, to.principal_id, self._group.subscription, mine)

    def _maintenance(self, cluster: aks.ManagedCluster, weekly: MaintenanceWindow) -> None:
        """Keep AKS's own upgrades, of versions and of node images, to the window."""
        for name, key in WINDOWS.items():
            aks.MaintenanceConfiguration(
                name,
                config_name=key,
                resource_name_=cluster.name,
                resource_group_name=self._group.name,
                maintenance_window=spec.maintenance_window(weekly),
                opts=pulumi.ResourceOptions(parent=self),
            )

    def _audit(self, cluster: aks.ManagedCluster, keys: StackKeys) -> None:
        """Log who changed what in the cluster, and who used the keys, for 30 days. ``kube-audit-admin`` leaves out
        reads, which would be most of the price. Source: AKS documentation, Monitor AKS: resource logs."""
        workspace = azure.operationalinsights.Workspace(
            "audit",
            workspace_name=self._about.name,
            resource_group_name=self._group.name,
            location=self._group.location,
            sku=azure.operationalinsights.WorkspaceSkuArgs(name="PerGB2018"),
            retention_in_days=30,
            features=azure.operationalinsights.WorkspaceFeaturesArgs(disable_local_auth=True),
            tags=tags(self._about),
            opts=pulumi.ResourceOptions(parent=self),
        )
        watched = {
            "cluster": (cluster.id, ("kube-audit-admin", "guard", "cluster-autoscaler")),
            "vault": (keys.vault.id, ("AuditEvent",)),
        }
        for name, (resource, categories) in watched.items():
            azure.monitor.DiagnosticSetting(
                f"{name}-audit",
                name=f"{self._about.name}-audit",
                resource_uri=resource,
                workspace_id=workspace.id,
                log_analytics_destination_type="Dedicated",
                logs=[azure.monitor.DiagnosticsLogSettingsArgs(category=each, enabled=True) for each in categories],
                opts=pulumi.ResourceOptions(parent=self),
            )


def adopted_cluster(settings: AzureSettings, name: str, group: str, opts: pulumi.InvokeOutputOptions) -> Cluster:
    """Read an existing cluster; nothing of it is changed but the pools and identities the stack adds."""
    cluster = aks.get_managed_cluster_output(resource_group_name=group, resource_name=name, opts=opts)
    return Cluster(
        id=cluster_id(settings.subscription, group, name),
        name=name,
        group=group,
        subnet=settings.network.adopt.subnet if settings.network.adopt else cluster.agent_pool_profiles.apply(_subnet),
        issuer=cluster.oidc_issuer_profile.apply(_issuer),
        kubelet=cluster.identity_profile.apply(_pulls),
        kubeconfig=_access(name, group, name, settings.tenant, opts),
    )


def _secrets_encryption(keys: StackKeys) -> aks.AzureKeyVaultKmsArgs | None:
    """Return the settings of the legacy experience, which the SDK's default API has; its successor came with Kubernetes
    1.33 in a later one. Source: AKS documentation, Add KMS etcd encryption to an AKS cluster (legacy)."""
    if keys.secrets is None:
        return None
    return aks.AzureKeyVaultKmsArgs(
        enabled=True, key_id=keys.secrets.key_uri_with_version, key_vault_network_access="Public"
    )


def _access(
    name: pulumi.Input[str], group: pulumi.Input[str], plain_name: str, tenant: str, opts: pulumi.InvokeOutputOptions
) -> pulumi.Output[str]:
    user_credentials = aks.list_managed_cluster_user_credentials_output(
        resource_group_name=group, resource_name=name, format="exec", opts=opts
    )

    def own(credentials: list[aks.outputs.CredentialResultResponse] | None) -> str:
        if not credentials:
            raise pulumi.RunError(
                f"cluster {plain_name}: AKS hands out no kubeconfig; the deployer must be allowed to list it"
            )
        return kubeconfig(credentials[0].value, plain_name, tenant)

    return pulumi.Output.secret(user_credentials.kubeconfigs.apply(own))


def _issuer(profile: aks.outputs.ManagedClusterOIDCIssuerProfileResponse | None) -> str:
    if profile is None or not profile.issuer_url:
        raise pulumi.RunError(
            "the cluster has no OIDC issuer, which workload identity needs: "
            "az aks update --enable-oidc-issuer --enable-workload-identity"
        )
    return str(profile.issuer_url)


def _pulls(profile: object) -> str:
    identity = profile.get(KUBELET) if isinstance(profile, dict) else None
    if identity is None or not identity.object_id:
        raise pulumi.RunError("the adopted cluster runs as a service principal; its nodes need a managed identity")
    return str(identity.object_id)


def _subnet(pools: list[aks.outputs.ManagedClusterAgentPoolProfileResponse] | None) -> str:
    """Return the first pool's subnet: the pools of one cluster are all in one network."""
    subnet = pools[0].vnet_subnet_id if pools else None
    if not subnet:
        raise pulumi.RunError(
            "the adopted cluster made its network itself: weights are let in by subnet, so it needs one of its own "
            "(az aks create --vnet-subnet-id …), with the service endpoint Microsoft.Storage"
        )
    return str(subnet)
