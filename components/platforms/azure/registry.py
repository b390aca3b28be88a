"""The registry that the stack's images are pushed to, and that only the nodes pull from."""

from __future__ import annotations

from typing import Any, Final

import pulumi
import pulumi_azure_native as azure

from components.platforms.azure.names import registry as registry_name
from components.platforms.azure.names import tags
from components.platforms.azure.rights import Group, grant
from components.platforms.azure.tables import registry_tier
from components.platforms.contract import About, Registry

acr = azure.containerregistry
REPOSITORIES: Final = "ebbtide"
_UNTAGGED_DAYS = 14


def registry_args(production: bool) -> dict[str, Any]:
    """Build a registry without password users or anonymous access: Entra roles only.

    Tags are not immutable: ACR locks an image or a repository by its own API alone, and the stack refers to images by
    digest only. Scanning on push is Microsoft Defender for Containers, a plan of the whole subscription
    (docs/clouds/azure.md).
    Sources: Azure Container Registry documentation, Set a retention policy; Lock container images.
    """
    retention = acr.PoliciesArgs(retention_policy=acr.RetentionPolicyArgs(status="enabled", days=_UNTAGGED_DAYS))
    return {
        "sku": acr.SkuArgs(name=registry_tier(production)),
        "admin_user_enabled": False,
        "anonymous_pull_enabled": False,
        "public_network_access": "Enabled",  # `up` pushes from outside the network
        "policies": retention if production else None,
    }


class AzureRegistry(pulumi.ComponentResource):
    """A container registry and the nodes' right to pull from it. `up` pushes with the login that ``az acr login``
    leaves; no credential is made. At rest it costs the tier's daily price and the storage of images beyond it."""

    registry: Registry
    ready: tuple[pulumi.Resource, ...]

    def __init__(
        self, about: About, group: Group, kubelet: pulumi.Input[str], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("ebbtide:platforms:AzureRegistry", "registry", None, opts)
        registry = acr.Registry(
            "registry",
            registry_name=registry_name(about.name, group.subscription),
            resource_group_name=group.name,
            location=group.location,
            tags=tags(about),
            **registry_args(about.protect),
            opts=pulumi.ResourceOptions(parent=self, protect=about.protect),
        )
        pull = grant(
            "nodes-pull", "AcrPull", registry.id, kubelet, group.subscription, pulumi.ResourceOptions(parent=self)
        )
        self.registry = Registry(pulumi.Output.concat(registry.login_server, "/", REPOSITORIES), build_cache=True)
        self.ready = (pull,)
        self.register_outputs({"address": self.registry.address})
