"""The check of the subscription (named in the stack file, confirmed by Azure before anything is made), and the rights
in it: one role assignment, to one identity, on one thing."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pulumi
import pulumi_azure_native as azure

from components.platforms.azure.tables import roles

_ID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def refusal(expected_subscription: str, expected_tenant: str, subscription: object, tenant: object) -> str | None:
    """Return what is wrong with the account that is signed in; None if nothing is. An answer that is no id is ignored
    (a recorder's); Azure always gives both."""
    for what, key, expected, actual in (
        ("tenant", "tenant", expected_tenant, tenant),
        ("subscription", "subscription", expected_subscription, subscription),
    ):
        if isinstance(actual, str) and _ID.fullmatch(actual) and actual.lower() != expected:
            return (
                f"platform.{key} is {expected}, but the account signed in belongs to the {what} {actual}: "
                f"nothing was made; sign in with `az login --tenant {expected_tenant}` and "
                f"`az account set --subscription {expected_subscription}`, or correct the stack file"
            )
    return None


def confirmed(name: str, subscription: str, tenant: str, provider: azure.Provider) -> pulumi.Output[str]:
    """Return ``name`` once Azure has said that this is the right account. The resource group takes its name from here
    and everything else is in that group, so the wrong account stops a preview and an update before their first
    resource."""

    def check(answer: azure.authorization.GetClientConfigResult) -> str:
        wrong = refusal(subscription, tenant, answer.subscription_id, answer.tenant_id)
        if wrong is not None:
            raise pulumi.RunError(wrong)
        return name

    options = pulumi.InvokeOutputOptions(provider=provider)
    return azure.authorization.get_client_config_output(opts=options).apply(check)


@dataclass(frozen=True)
class Group:
    """The resource group of the stack's own resources: ``name`` is an output, as the account is confirmed first."""

    name: pulumi.Input[str]
    location: str
    subscription: str


def role_id(subscription: str, role: str) -> str:
    """Return the id of a built-in role in this subscription. Raises ``KeyError`` for one that is not in the table."""
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
    """Grant ``role`` to ``principal`` (an object id) on ``scope``.

    The type of principal is given, so that Azure does not look up a new identity before the directory has copied it.
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
