"""The prerequisites of GKE's load balancer: an address, and for the public one its rules."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import pulumi
import pulumi_gcp as gcp

from components.platforms.contract import About, Ingress
from components.platforms.gcp.load_balancer import ingress
from components.platforms.gcp.names import fitted, labels
from components.platforms.gcp.settings import GcpSettings

_RANGES_A_RULE = 10
_LAST_PRIORITY = 2147483647


def allow_rules(networks: Sequence[str]) -> Iterator[gcp.compute.SecurityPolicyRuleArgs]:
    """Yield rules for those networks and nobody else: ten ranges fit in a rule, and the last rule refuses the rest.
    Source: Google Cloud Armor documentation, Security policy overview."""
    for start in range(0, len(networks), _RANGES_A_RULE):
        yield _rule("allow", 1000 + start, networks[start : start + _RANGES_A_RULE], "clients")
    yield _rule("deny(403)", _LAST_PRIORITY, ["*"], "everybody else")


def _rule(action: str, priority: int, ranges: Sequence[str], says: str) -> gcp.compute.SecurityPolicyRuleArgs:
    return gcp.compute.SecurityPolicyRuleArgs(
        action=action,
        priority=priority,
        description=says,
        match=gcp.compute.SecurityPolicyRuleMatchArgs(
            versioned_expr="SRC_IPS_V1",
            config=gcp.compute.SecurityPolicyRuleMatchConfigArgs(src_ip_ranges=list(ranges)),
        ),
    )


class GcpIngress(pulumi.ComponentResource):
    """A static address for the name in DNS; public: also an allow list (Cloud Armor) and a TLS policy. GKE itself makes
    the load balancer from the gateway's Ingress object, and removes it with that object. At rest it costs the load
    balancer's hourly price."""

    ingress: Ingress

    def __init__(
        self, settings: GcpSettings, about: About, subnet: pulumi.Input[str], opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("ebbtide:platforms:GcpIngress", "ingress", None, opts)
        ingress_settings = settings.ingress
        if ingress_settings is None:
            raise ValueError("platform.ingress: nothing is asked for")
        child = pulumi.ResourceOptions(parent=self)
        name = fitted(f"{about.name}-gateway", 63)
        address: gcp.compute.Address | gcp.compute.GlobalAddress
        if ingress_settings.public:
            address = gcp.compute.GlobalAddress("address", name=name, labels=labels(about), opts=child)
            gcp.compute.SecurityPolicy(
                "allow-list",
                name=name,
                type="CLOUD_ARMOR",
                rules=list(allow_rules(ingress_settings.allowed_networks)),
                opts=child,
            )
            gcp.compute.SSLPolicy("tls", name=name, profile="MODERN", min_tls_version="TLS_1_2", opts=child)
            self.ingress = ingress(ingress_settings, about, name, security_policy=name, ssl_policy=name)
        else:
            address = gcp.compute.Address(
                "address",
                name=name,
                region=settings.region,
                address_type="INTERNAL",
                subnetwork=subnet,
                labels=labels(about),
                opts=child,
            )
            self.ingress = ingress(ingress_settings, about, name, security_policy=None, ssl_policy=None)
        self.register_outputs({"address": address.address})
