"""Who may do what: one role assignment, to one identity, on one thing."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi
import pulumi_azure_native as azure

from components.platforms.azure.tables import roles


@dataclass(frozen=True)
class Group:
    """Where the stack's own resources go: ``name`` is late, because the account is confirmed before it is known."""

    name: pulumi.Input[str]
    location: str
    subscription: str


def role_id(subscription: str, role: str) -> str:
    """The id of a built-in role in this subscription. Raises KeyError for one that the table does not have."""
    return f"/subscriptions/{subscription}/providers/Microsoft.Authorization/roleDefinitions/{roles()[role]}"


def grant(
    name: str,
    role: str,
    scope: pulumi.Input[str],
    principal: pulumi.Input[str],
    subscription: str,
    opts: pulumi.ResourceOptions,
    principal_type: str = "ServicePrincipal",
) -> azure.authorization.RoleAssignment:
    """``role`` for ``principal`` (an object id) on ``scope``.

    The type of principal is said, so that Azure does not look a new identity up before the directory has copied it.
    Source: Azure RBAC documentation, Assign Azure roles: new service principal.
    """
    return azure.authorization.RoleAssignment(
        name,
        role_definition_id=role_id(subscription, role),
        scope=scope,
        principal_id=principal,
        principal_type=principal_type,
        opts=opts,
    )
