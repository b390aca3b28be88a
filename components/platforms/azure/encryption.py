"""The stack's own keys: one for the cluster's secrets, one for the weights, in a vault of its own."""

from __future__ import annotations

from typing import Any

import pulumi
import pulumi_azure_native as azure
import pulumi_random as random

from components.platforms.azure.names import tags, vault_prefix
from components.platforms.azure.rights import Group
from components.platforms.contract import About

_KEY_BITS = 3072
_DAYS_KEPT = {True: 90, False: 7}
"""Days in which a deleted vault can be restored, protected or not; Azure allows 7 to 90 and no change afterwards."""


def vault_properties(tenant: str, protect: bool) -> azure.keyvault.VaultPropertiesArgs:
    """Build a vault with rights by Entra roles only, and no purging: a purged key would take the secrets and the
    weights along.

    The vault answers on its public address, but only to those with a role. A firewall with chosen networks would shut
    out the cluster's own key plug-in; without any public address, the API server would have to be inside the network.
    Source: AKS documentation, Add KMS etcd encryption (legacy): Limitations. Blob storage requires purge protection.
    Source: Azure Storage documentation, Customer-managed keys for Azure Storage encryption.
    """
    return azure.keyvault.VaultPropertiesArgs(
        tenant_id=tenant,
        sku=azure.keyvault.SkuArgs(family="A", name=azure.keyvault.SkuName.STANDARD),
        enable_rbac_authorization=True,
        enable_soft_delete=True,
        enable_purge_protection=True,
        soft_delete_retention_in_days=_DAYS_KEPT[protect],
        public_network_access="Enabled",
    )


def key_properties(rotated: bool) -> azure.keyvault.KeyPropertiesArgs:
    """Build an RSA key. ``rotated``: a new version each year, which storage follows by itself. The cluster's key is
    not: its version is in the cluster's configuration, and changing it re-encrypts every secret."""
    yearly = azure.keyvault.RotationPolicyArgs(
        lifetime_actions=[
            azure.keyvault.LifetimeActionArgs(
                action=azure.keyvault.ActionArgs(type=azure.keyvault.KeyRotationPolicyActionType.ROTATE),
                trigger=azure.keyvault.TriggerArgs(time_after_create="P1Y"),
            )
        ]
    )
    return azure.keyvault.KeyPropertiesArgs(
        kty="RSA",
        key_size=_KEY_BITS,
        key_ops=["encrypt", "decrypt", "wrapKey", "unwrapKey"],
        rotation_policy=yearly if rotated else None,
    )


class StackKeys(pulumi.ComponentResource):
    """A Key Vault with the stack's keys. The vault's name ends in random hex digits: a deleted vault keeps its name for
    days, and the next stack of this name must not collide with it. At rest it costs next to nothing (priced by
    operation)."""

    vault: azure.keyvault.Vault
    weights: azure.keyvault.Key
    secrets: azure.keyvault.Key | None

    def __init__(
        self, tenant: str, about: About, group: Group, with_cluster: bool, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("ebbtide:platforms:AzureKeys", "keys", None, opts)
        protected = pulumi.ResourceOptions(parent=self, protect=about.protect)
        ending = random.RandomId("vault-name", byte_length=3, opts=pulumi.ResourceOptions(parent=self))
        self.vault = azure.keyvault.Vault(
            "vault",
            vault_name=pulumi.Output.concat(vault_prefix(about.name), "-", ending.hex),
            resource_group_name=group.name,
            location=group.location,
            properties=vault_properties(tenant, about.protect),
            tags=tags(about),
            opts=protected,
        )
        common: dict[str, Any] = {"resource_group_name": group.name, "vault_name": self.vault.name, "tags": tags(about)}
        # a key goes with its vault: deleting it alone would need rights on keys that `up` has no other use for
        protected = pulumi.ResourceOptions(parent=self, protect=about.protect, retain_on_delete=True)
        self.weights = azure.keyvault.Key(
            "weights-key", key_name="weights", properties=key_properties(rotated=True), **common, opts=protected
        )
        self.secrets = None
        if with_cluster:
            self.secrets = azure.keyvault.Key(
                "secrets-key", key_name="secrets", properties=key_properties(rotated=False), **common, opts=protected
            )
        self.register_outputs({"vault": self.vault.id})
