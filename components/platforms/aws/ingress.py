"""An Application Load Balancer before the gateway, and the controller that makes it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.platforms.aws.cluster import Cluster
from components.platforms.aws.network import Network
from components.platforms.aws.pod_role import PodRole
from components.platforms.aws.rights import load_balancer_controller
from components.platforms.aws.settings import IngressSettings
from components.platforms.aws.tables import pinned
from components.platforms.contract import About, HttpIngress, Ingress

_REPOSITORY = "https://aws.github.io/eks-charts"
_NAMESPACE, _ACCOUNT = "kube-system", "aws-load-balancer-controller"
_ALB = "alb.ingress.kubernetes.io"
# Source: Application Load Balancer user guide, load balancer attributes: 1 to 4000 seconds, 60 unless set
LONGEST_SILENCE_SECONDS = 4000
# Source: Application Load Balancer user guide, target group attributes: 0 to 3600 seconds
LONGEST_DRAIN_SECONDS = 3600
LEAVE_SECONDS = 90
"""How long a target that is being taken out may still get new requests: the controller has to hear of the pod, the API
to answer, the load balancer's nodes to follow. 25 to 70 s were enough for others; nobody promises a number. Source:
kubernetes-sigs/aws-load-balancer-controller 1064, 1719, 2106."""
READINESS_GATE = {"elbv2.k8s.aws/pod-readiness-gate-inject": "enabled"}
"""Label of a namespace whose pods count as ready only once their target is healthy, so that a roll-out does not take
the last target that answers. Source: AWS Load Balancer Controller documentation, Pod readiness gate."""
# Source: Application Load Balancer user guide, Security policies: TLS 1.3, and 1.2 with forward secrecy
_TLS_POLICY = "ELBSecurityPolicy-TLS13-1-2-2021-06"


def alb_annotations(
    settings: IngressSettings,
    about: About,
    subnets: pulumi.Input[str],
    default_networks: Sequence[str],
    tags: Mapping[str, str],
) -> dict[str, pulumi.Input[str]]:
    """Build the controller's annotations. ``subnets`` are ids joined by commas. A silent connection is cut only after
    the longest time the load balancer allows; a stream that sends has no limit. A terminating pod keeps its requests
    for as long as one may be held that came at the last moment, at most an hour.
    Source: AWS Load Balancer Controller 3.5, Ingress annotations."""
    networks = settings.allowed_networks or tuple(default_networks)
    drain = min(LEAVE_SECONDS + about.longest_silence_seconds, LONGEST_DRAIN_SECONDS)
    attributes = {
        "idle_timeout.timeout_seconds": str(LONGEST_SILENCE_SECONDS),
        "routing.http.drop_invalid_header_fields.enabled": "true",
    }
    plain = {
        "scheme": "internet-facing" if settings.public else "internal",
        "target-type": "ip",  # straight to the pod: the Service needs no node port
        "listen-ports": json.dumps([{"HTTPS": 443}]),
        "certificate-arn": settings.certificate,
        "ssl-policy": _TLS_POLICY,
        "inbound-cidrs": ",".join(networks),
        "load-balancer-attributes": _pairs(attributes),
        "target-group-attributes": _pairs({"deregistration_delay.timeout_seconds": str(drain)}),
        "healthcheck-path": "/health/readiness",
        "tags": _pairs(tags),
    }
    return {**{f"{_ALB}/{key}": value for key, value in plain.items()}, f"{_ALB}/subnets": subnets}


def _pairs(values: Mapping[str, str]) -> str:
    return ",".join(f"{key}={value}" for key, value in values.items())


def ingress(
    settings: IngressSettings | None,
    about: About,
    network: Network,
    default_networks: Sequence[str],
    tags: Mapping[str, str],
) -> Ingress:
    """Return how the gateway is reached; without settings only from inside the cluster."""
    if settings is None:
        return Ingress()
    where = network.public if settings.public else list(network.private.values())
    subnets = pulumi.Output.all(*where).apply(lambda ids: ",".join(sorted(str(one) for one in ids)))
    annotations = alb_annotations(settings, about, subnets, default_networks, tags)
    return Ingress(
        url=f"https://{settings.host}",
        idle_timeout_seconds=LONGEST_SILENCE_SECONDS,
        leave_seconds=LEAVE_SECONDS,
        http=HttpIngress("alb", settings.host, annotations, namespace_labels=READINESS_GATE),
    )


def controller_values(cluster: str, region: str, vpc: pulumi.Input[str]) -> dict[str, Any]:
    """Build chart values. Region and VPC are given because pods cannot reach the nodes' metadata; Services are left
    alone, or none could be created while the controller is down. Source: its Installation page."""
    return {
        "clusterName": cluster,
        "region": region,
        "vpcId": vpc,
        "replicaCount": 2,
        "serviceAccount": {"name": _ACCOUNT},
        "enableServiceMutatorWebhook": False,
        "keepTLSSecret": True,  # else each upgrade would make a new certificate, and a diff
        "enableShield": False,
        "enableWaf": False,
        "enableWafv2": False,
        "resources": {"requests": {"cpu": "50m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
    }


class AwsLoadBalancerController(pulumi.ComponentResource):
    """The controller that turns an Ingress into a load balancer.

    At rest it costs two small pods on the system nodes; the load balancer itself is billed by the hour and by use. An
    Ingress must be created after it and deleted before it, or its load balancer stays behind.
    """

    def __init__(
        self,
        name: str,
        region: str,
        cluster: Cluster,
        network: Network,
        after: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:platforms:AwsLoadBalancerController", f"{name}-load-balancer", None, opts)
        role = PodRole(
            name,
            "load-balancer",
            cluster.ref,
            _NAMESPACE,
            _ACCOUNT,
            load_balancer_controller(cluster.name),
            pulumi.ResourceOptions(parent=self),
        )
        k8s.helm.v3.Release(
            f"{name}-aws-load-balancer-controller",
            name=_ACCOUNT,
            chart=_ACCOUNT,
            version=pinned("aws-load-balancer-controller").version,
            namespace=_NAMESPACE,
            repository_opts={"repo": _REPOSITORY},
            values=controller_values(cluster.name, region, network.vpc_id),
            timeout=600,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[role.association, *after]),
        )
        self.register_outputs({})
