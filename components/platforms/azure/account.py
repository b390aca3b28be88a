"""Whose subscription this is: said by the stack file, confirmed by Azure before anything is made."""

from __future__ import annotations

import re

import pulumi
import pulumi_azure_native as azure

_ID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")


def refusal(expected_subscription: str, expected_tenant: str, subscription: object, tenant: object) -> str | None:
    """What is wrong with the account that is signed in; None where nothing is. An answer that is no id says nothing (a
    recorder's); Azure always gives both."""
    for what, key, expected, found in (
        ("tenant", "tenant", expected_tenant, tenant),
        ("subscription", "subscription", expected_subscription, subscription),
    ):
        if isinstance(found, str) and _ID.fullmatch(found) and found.lower() != expected:
            return (
                f"platform.{key} is {expected}, but the account signed in belongs to the {what} {found}: "
                f"nothing was made; sign in with `az login --tenant {expected_tenant}` and "
                f"`az account set --subscription {expected_subscription}`, or correct the stack file"
            )
    return None


def confirmed(name: str, subscription: str, tenant: str, provider: azure.Provider) -> pulumi.Output[str]:
    """``name``, once Azure has said that this is the right account. The resource group takes its name from here and
    everything else is in that group, so the wrong account stops a preview and an update before their first resource.
    """

    def check(answer: azure.authorization.GetClientConfigResult) -> str:
        wrong = refusal(subscription, tenant, answer.subscription_id, answer.tenant_id)
        if wrong is not None:
            raise pulumi.RunError(wrong)
        return name

    options = pulumi.InvokeOutputOptions(provider=provider)
    return azure.authorization.get_client_config_output(opts=options).apply(check)
