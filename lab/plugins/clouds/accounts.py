"""Account of the credentials a provider finds, checked against those the program allows before anything is created."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from infra.gate.replacement.differences import UNKNOWN
from lab.plugins.plugin import RefusedError
from lab.plugins.properties import plain


class RefusedAtFirstCallError(RefusedError):
    """The provider takes these credentials; the cloud refuses them when it is asked for something."""


_DEFAULTS = {
    "aws": {"account": "123456789012"},
    "azure-native": {
        "subscription": "00000000-0000-0000-0000-000000000001",
        "tenant": "00000000-0000-0000-0000-000000000002",
    },
    "gcp": {"project": "rehearsal", "projectNumber": "123456789012"},
}


def settings(config: Mapping[str, Any]) -> dict[str, Any]:
    """Parse a provider's configuration, in which everything but text comes as JSON."""
    return {key: _parsed(value) for key, value in plain(config).items()}


def _parsed(value: Any) -> Any:
    if isinstance(value, str) and (value[:1] in ("[", "{", '"') or value in ("true", "false")):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def place(package: str, account: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, Any]:
    """Return where resources go: account, region and whatever else ids contain. Raises `RefusedError` in the cloud's
    own words when the credentials are not those that the program allows: AWS and Azure while the provider is
    configured, Google Cloud (`RefusedAtFirstCallError`) only when it is asked for something of the project."""
    own = _DEFAULTS[package] | dict(account)
    if package == "aws":
        return own | {"region": _aws(own, config), "partition": "aws"}
    if package == "azure-native":
        return own | {"region": config.get("location")} | _azure(own, account, config)
    return own | {"region": config.get("region"), "zone": config.get("zone")} | _gcp(own, account, config)


def _aws(own: Mapping[str, str], config: Mapping[str, Any]) -> str:
    if not config.get("region"):
        raise RefusedError("missing region configuration: set aws:region, or region on the provider")
    allowed, forbidden = config.get("allowedAccountIds"), config.get("forbiddenAccountIds") or []
    account = own["account"]
    if (isinstance(allowed, list) and account not in allowed and UNKNOWN not in allowed) or account in forbidden:
        raise RefusedError(f"AWS account ID not allowed: {account}")
    return str(config["region"])


def _azure(own: Mapping[str, str], account: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, Any]:
    # the provider asks the Azure CLI for the configured subscription, and for a token of the configured tenant
    subscription, tenant = config.get("subscriptionId"), config.get("tenantId")
    if account.get("subscription") and subscription not in (None, UNKNOWN, own["subscription"]):
        raise RefusedError(f"could not get account info from Azure CLI: subscription '{subscription}' doesn't exist")
    if account.get("tenant") and tenant not in (None, UNKNOWN, own["tenant"]):
        raise RefusedError(f"AADSTS90002: Tenant '{tenant}' not found. Check that you have the correct tenant ID")
    return {"subscription": subscription or own["subscription"], "tenant": tenant or own["tenant"]}


def _gcp(own: Mapping[str, str], account: Mapping[str, str], config: Mapping[str, Any]) -> dict[str, Any]:
    project = config.get("project")
    if account.get("project") and project not in (None, UNKNOWN, own["project"]):
        raise RefusedAtFirstCallError(
            f"googleapi: Error 403: Permission denied on resource project {project}. "
            "reason: CONSUMER_INVALID, forbidden"
        )
    return {"project": project or own["project"]}
