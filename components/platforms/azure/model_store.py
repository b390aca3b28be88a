"""The model store: a container of blobs that serving pods read and only the mirror writes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_azure_native as azure

from components.platforms.azure.encryption import StackKeys
from components.platforms.azure.names import storage_account, tags
from components.platforms.azure.rights import Group, grant
from components.platforms.azure.tables import redundancy
from components.platforms.contract import About, Identity, Upload, Weights
from components.platforms.folder_store import folder_name

CONTAINER: Final = "models"
SERVING: Final = ("ebbtide-models", "ebbtide-model")
MIRROR: Final = ("ebbtide-mirror", "ebbtide-mirror")
"""Namespace and service account of the reader and of the writer."""

CLIENT_ID: Final = "azure.workload.identity/client-id"
USES_IDENTITY: Final = {"azure.workload.identity/use": "true"}
"""The label without which the pod gets no token. Source: AKS documentation, Workload ID overview: pod labels."""

_AUDIENCE = "api://AzureADTokenExchange"
_OLD_VERSIONS_DAYS = 30


@dataclass(frozen=True)
class BlobStore:
    """Weights by Hugging Face id and revision in one storage account.

    vLLM reads ``az://container/prefix`` with the Run:ai streamer; the URI does not name the account, so the engine also
    needs ``environment`` (``AZURE_STORAGE_ACCOUNT_NAME``). Sources: vLLM 0.32, its runai_utils.py (schemes) and extra
    ``runai`` (runai-model-streamer[azure] from 0.15.7 on); runai-model-streamer-azure 0.17, credentials.py (the
    account's name, then workload identity).
    """

    account: str
    reader: Identity
    writer: Identity

    @property
    def environment(self) -> Mapping[str, str]:
        """Return what the client needs to read or write; nothing in it is secret."""
        return {"AZURE_STORAGE_ACCOUNT_NAME": self.account}

    @property
    def upload(self) -> Upload:
        return Upload(f"az://{CONTAINER}", self.writer, dict(self.environment))

    def prepare(self, namespace: pulumi.Input[str], opts: pulumi.ResourceOptions) -> list[pulumi.Resource]:
        """Create nothing in the cluster: the pods' service account is enough."""
        return []

    def weights(self, model_id: str, revision: str) -> Weights:
        return Weights(
            f"az://{CONTAINER}/{folder_name(model_id)}/{revision}",
            load_format="runai_streamer",
            environment=self.environment,
        )


def account_args(
    zones: int,
    subnet: pulumi.Input[str],
    key: azure.keyvault.Key,
    vault: azure.keyvault.Vault,
    identity: pulumi.Input[str],
) -> dict[str, Any]:
    """Build an account reached from the nodes' subnet only, by TLS 1.2, with Entra tokens only; encrypted with the
    stack's key, whose newest version it follows by itself.

    Sources: Azure Storage documentation, Configure firewalls and virtual networks; Prevent Shared Key authorization;
    Customer-managed keys: key version left out is updated automatically.
    """
    storage = azure.storage
    rules = [storage.VirtualNetworkRuleArgs(virtual_network_resource_id=subnet)]
    return {
        "kind": "StorageV2",
        "sku": storage.SkuArgs(name=f"Standard_{redundancy(zones)}"),
        "access_tier": storage.AccessTier.HOT,
        "allow_blob_public_access": False,
        "allow_shared_key_access": False,
        "allow_cross_tenant_replication": False,
        "default_to_o_auth_authentication": True,
        "enable_https_traffic_only": True,
        "minimum_tls_version": "TLS1_2",
        "public_network_access": "Enabled",  # through the firewall below, which lets in one subnet
        "network_rule_set": storage.NetworkRuleSetArgs(
            default_action=storage.DefaultAction.DENY, bypass="None", virtual_network_rules=rules
        ),
        "identity": storage.IdentityArgs(type=storage.IdentityType.USER_ASSIGNED, user_assigned_identities=[identity]),
        "encryption": storage.EncryptionArgs(
            key_source="Microsoft.Keyvault",
            key_vault_properties=storage.KeyVaultPropertiesArgs(
                key_name=key.name, key_vault_uri=vault.properties.apply(lambda properties: properties.vault_uri)
            ),
            encryption_identity=storage.EncryptionIdentityArgs(encryption_user_assigned_identity=identity),
            services=storage.EncryptionServicesArgs(
                blob=storage.EncryptionServiceArgs(enabled=True, key_type="Account")
            ),
        ),
    }


def old_versions_go() -> azure.storage.ManagementPolicySchemaArgs:
    """Delete replaced versions after 30 days; without this every version would be paid for, for ever."""
    storage = azure.storage
    age = storage.DateAfterCreationArgs(days_after_creation_greater_than=_OLD_VERSIONS_DAYS)
    rule = storage.ManagementPolicyRuleArgs(
        name="old-versions",
        type="Lifecycle",
        enabled=True,
        definition=storage.ManagementPolicyDefinitionArgs(
            actions=storage.ManagementPolicyActionArgs(version=storage.ManagementPolicyVersionArgs(delete=age)),
            filters=storage.ManagementPolicyFilterArgs(blob_types=["blockBlob"]),
        ),
    )
    return storage.ManagementPolicySchemaArgs(rules=[rule])


class AzureModelStore(pulumi.ComponentResource):
    """A storage account with one container, versioned, and two identities for the cluster's service accounts: one
    reads, one writes. At rest it costs the storage of the weights, and of what was replaced for 30 days."""

    store: BlobStore
    ready: tuple[pulumi.Resource, ...]

    def __init__(
        self,
        about: About,
        group: Group,
        keys: StackKeys,
        zones: int,
        subnet: pulumi.Input[str],
        issuer: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:platforms:AzureModelStore", "model-store", None, opts)
        self._about, self._group, self._child = about, group, pulumi.ResourceOptions(parent=self)
        name = storage_account(about.name, group.subscription)
        encrypts = self._identity("weights-key")
        may_encrypt = self._grant(
            "weights-key-user", "Key Vault Crypto Service Encryption User", keys.vault.id, encrypts.principal_id
        )
        account = azure.storage.StorageAccount(
            "weights",
            account_name=name,
            resource_group_name=group.name,
            location=group.location,
            tags=tags(about),
            **account_args(zones, subnet, keys.weights, keys.vault, encrypts.id),
            opts=pulumi.ResourceOptions(parent=self, protect=about.protect, depends_on=[may_encrypt]),
        )
        where: dict[str, Any] = {"account_name": account.name, "resource_group_name": group.name}
        retention = azure.storage.DeleteRetentionPolicyArgs(enabled=True, days=_OLD_VERSIONS_DAYS)
        azure.storage.BlobServiceProperties(
            "versions",
            blob_services_name="default",
            is_versioning_enabled=True,
            delete_retention_policy=retention,
            container_delete_retention_policy=retention,
            **where,
            opts=self._child,
        )
        azure.storage.ManagementPolicy(
            "old-versions", management_policy_name="default", policy=old_versions_go(), **where, opts=self._child
        )
        container = azure.storage.BlobContainer(
            "models",
            container_name=CONTAINER,
            public_access=azure.storage.PublicAccess.NONE,
            **where,
            opts=pulumi.ResourceOptions(parent=self, protect=about.protect),
        )
        reader, reads = self._workload("models-read", SERVING, "Storage Blob Data Reader", container.id, issuer)
        writer, writes = self._workload("models-write", MIRROR, "Storage Blob Data Contributor", container.id, issuer)
        self.store = BlobStore(name, reader, writer)
        self.ready = (container, *reads, *writes)
        self.register_outputs({"account": account.name})

    def _workload(
        self,
        name: str,
        account: tuple[str, str],
        role: str,
        scope: pulumi.Input[str],
        issuer: pulumi.Input[str],
    ) -> tuple[Identity, tuple[pulumi.Resource, ...]]:
        """Create an identity that one service account of this cluster may assume, with ``role`` on ``scope``."""
        namespace, service_account = account
        identity = self._identity(name)
        trusted = azure.managedidentity.FederatedIdentityCredential(
            f"{name}-account",
            federated_identity_credential_resource_name=service_account,
            resource_group_name=self._group.name,
            resource_name_=identity.name,
            issuer=issuer,
            subject=f"system:serviceaccount:{namespace}:{service_account}",
            audiences=[_AUDIENCE],
            opts=self._child,
        )
        right = self._grant(name, role, scope, identity.principal_id)
        return Identity({CLIENT_ID: identity.client_id}, dict(USES_IDENTITY)), (trusted, right)

    def _identity(self, role: str) -> azure.managedidentity.UserAssignedIdentity:
        return azure.managedidentity.UserAssignedIdentity(
            f"{role}-identity",
            resource_name_=f"{self._about.name}-{role}",
            resource_group_name=self._group.name,
            location=self._group.location,
            tags=tags(self._about),
            opts=self._child,
        )

    def _grant(
        self, name: str, role: str, scope: pulumi.Input[str], principal: pulumi.Input[str]
    ) -> azure.authorization.RoleAssignment:
        return grant(name, role, scope, principal, self._group.subscription, self._child)
