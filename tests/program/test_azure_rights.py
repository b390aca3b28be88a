"""The deployer's role and the documented condition against what the stack really asks of Azure."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from components.platforms.azure.tables import roles
from tests.program.test_azure_platform import SETTINGS, request, resources_of

pytest.importorskip("pulumi_azure_native")

DOCS = Path(__file__).parents[2] / "docs" / "clouds"
ROLE = json.loads((DOCS / "azure-deployer-role.json").read_text())
PAGE = (DOCS / "azure.md").read_text()
ARM = {
    "AgentPool": "Microsoft.ContainerService/managedClusters/agentPools",
    "BlobContainer": "Microsoft.Storage/storageAccounts/blobServices/containers",
    "BlobServiceProperties": "Microsoft.Storage/storageAccounts/blobServices",
    "DiagnosticSetting": "Microsoft.Insights/diagnosticSettings",
    "FederatedIdentityCredential": "Microsoft.ManagedIdentity/userAssignedIdentities/federatedIdentityCredentials",
    "Key": "Microsoft.KeyVault/vaults/keys",
    "MaintenanceConfiguration": "Microsoft.ContainerService/managedClusters/maintenanceConfigurations",
    "ManagedCluster": "Microsoft.ContainerService/managedClusters",
    "ManagementPolicy": "Microsoft.Storage/storageAccounts/managementPolicies",
    "NatGateway": "Microsoft.Network/natGateways",
    "PublicIPAddress": "Microsoft.Network/publicIPAddresses",
    "Registry": "Microsoft.ContainerRegistry/registries",
    "ResourceGroup": "Microsoft.Resources/subscriptions/resourceGroups",
    "StorageAccount": "Microsoft.Storage/storageAccounts",
    "Subnet": "Microsoft.Network/virtualNetworks/subnets",
    "UserAssignedIdentity": "Microsoft.ManagedIdentity/userAssignedIdentities",
    "Vault": "Microsoft.KeyVault/vaults",
    "VirtualNetwork": "Microsoft.Network/virtualNetworks",
    "Workspace": "Microsoft.OperationalInsights/workspaces",
}
NEVER_DELETED = {"Key", "BlobServiceProperties"}  # they go with the vault and the account
GIVEN_WITH_A_CONDITION = {"RoleAssignment"}


def asked() -> set[str]:
    """Kinds of resource of Azure in a stack with everything."""
    return {
        one.type.rpartition(":")[2]
        for one in resources_of(request(), protect=True, cluster={**SETTINGS["cluster"], "maintenance": {}}).requests
        if one.custom and one.type.startswith("azure-native:")
    }


def test_the_deployers_role_covers_every_kind_of_resource_and_no_kind_that_is_not_made() -> None:
    actions = set(ROLE["Actions"])
    kinds = asked() - GIVEN_WITH_A_CONDITION
    assert kinds == set(ARM)
    missing = {
        f"{ARM[kind]}/{verb}"
        for kind in kinds
        for verb in ("read", "write", *(() if kind in NEVER_DELETED else ("delete",)))
    } - actions
    assert missing == set()
    written = {action.rsplit("/", 1)[0] for action in actions if action.endswith(("/write", "/delete"))}
    assert written - set(ARM.values()) == {"Microsoft.ContainerRegistry/registries/push"}


def test_the_deployers_role_reads_no_data_and_gives_no_rights_by_itself() -> None:
    assert ROLE["DataActions"] == []
    assert not [action for action in ROLE["Actions"] if "*" in action]
    assert "Microsoft.Authorization/roleAssignments/write" not in ROLE["Actions"]
    assert "Microsoft.Storage/storageAccounts/listKeys/action" not in ROLE["Actions"]
    assert "Microsoft.ContainerService/managedClusters/listClusterAdminCredential/action" not in ROLE["Actions"]


def test_the_documented_condition_allows_the_roles_that_the_stack_gives_and_no_other() -> None:
    sets = re.findall(r"GuidEquals \{([^}]+)\}", PAGE)
    assert len(sets) == 2
    for each in sets:
        assert {one.strip() for one in each.split(",")} == set(roles().values())


def test_every_role_in_the_table_is_given_to_somebody() -> None:
    resources = resources_of(request(), protect=True)
    role_ids = {
        resources.inputs("RoleAssignment", one.name)["roleDefinitionId"][-36:]
        for one in resources.all("RoleAssignment")
    }
    assert role_ids == set(roles().values())
