"""Karpenter's controller: its rights, its queue of interruption notices, its charts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_kubernetes as k8s

from components.platforms.aws.cluster import Cluster
from components.platforms.aws.names import prefix
from components.platforms.aws.nodes import NodeRole
from components.platforms.aws.pod_role import PodRole
from components.platforms.aws.rights import interruption_queue, karpenter
from components.platforms.aws.tables import pinned

_CHARTS = "oci://public.ecr.aws/karpenter"
_NAMESPACE, _ACCOUNT = "kube-system", "karpenter"
# Source: Karpenter 1.14 documentation, CloudFormation reference, Interruption Handling
NOTICES = {
    "health": ("aws.health", "AWS Health Event"),
    "spot": ("aws.ec2", "EC2 Spot Instance Interruption Warning"),
    "rebalance": ("aws.ec2", "EC2 Instance Rebalance Recommendation"),
    "state": ("aws.ec2", "EC2 Instance State-change Notification"),
    "reservation": ("aws.ec2", "EC2 Capacity Reservation Instance Interruption Warning"),
}


def controller_values(cluster: str, region: str, queue: pulumi.Input[str], replicas: int) -> dict[str, Any]:
    """Build chart values. The region is given because pods cannot reach the nodes' metadata."""
    return {
        "replicas": replicas,
        "serviceAccount": {"name": _ACCOUNT},
        "settings": {"clusterName": cluster, "interruptionQueue": queue, "eksControlPlane": True},
        "controller": {
            "env": [{"name": "AWS_REGION", "value": region}],
            "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}, "limits": {"memory": "1Gi"}},
        },
    }


class AwsKarpenter(pulumi.ComponentResource):
    """Karpenter: CRDs in a chart of their own, so that they are upgraded too, then the controller.

    At rest it costs one or two pods on the system nodes and next to nothing for the queue. It launches instances
    itself: there is no node group. Node pools must name this component in ``depends_on``: on ``destroy`` it must remove
    their nodes before it goes.
    """

    def __init__(
        self,
        name: str,
        region: str,
        account: str,
        cluster: Cluster,
        role: NodeRole,
        replicas: int,
        after: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:platforms:AwsKarpenter", f"{name}-karpenter", None, opts)
        mine = pulumi.ResourceOptions(parent=self)
        queue = self._queue(name)
        # EKS admits the instances of a managed node group; this entry admits Karpenter's
        entry = aws.eks.AccessEntry(
            f"{name}-nodes", cluster_name=cluster.ref, principal_arn=role.arn, type="EC2_LINUX", opts=mine
        )
        policy = pulumi.Output.all(role.arn, queue.arn).apply(
            lambda arns: karpenter(cluster.name, region, account, arns[0], arns[1])
        )
        rights = PodRole(name, "karpenter", cluster.ref, _NAMESPACE, _ACCOUNT, policy, mine)
        ready = [rights.association, entry, *after]
        definitions = self._release(name, "karpenter-crd", {}, ready)
        values = controller_values(cluster.name, region, queue.name, replicas)
        self._release(name, "karpenter", values, [*ready, definitions], skip_crds=True)
        self.register_outputs({})

    def _release(
        self, name: str, chart: str, values: dict[str, Any], after: list[pulumi.Resource], skip_crds: bool = False
    ) -> k8s.helm.v3.Release:
        return k8s.helm.v3.Release(
            f"{name}-{chart}",
            name=chart,
            chart=f"{_CHARTS}/{chart}",
            version=pinned("karpenter").version,
            namespace=_NAMESPACE,
            values=values,
            skip_crds=skip_crds,
            timeout=600,
            opts=pulumi.ResourceOptions(parent=self, depends_on=after),
        )

    def _queue(self, name: str) -> aws.sqs.Queue:
        mine = pulumi.ResourceOptions(parent=self)
        queue = aws.sqs.Queue(
            f"{name}-interruptions",
            name_prefix=prefix(f"{name}-interruptions", 54),
            message_retention_seconds=300,
            sqs_managed_sse_enabled=True,
            opts=mine,
        )
        aws.sqs.QueuePolicy(
            f"{name}-interruptions", queue_url=queue.url, policy=queue.arn.apply(interruption_queue), opts=mine
        )
        for key, (source, what) in NOTICES.items():
            rule = aws.cloudwatch.EventRule(
                f"{name}-{key}",
                name_prefix=prefix(f"{name}-{key}"),
                event_pattern=json.dumps({"source": [source], "detail-type": [what]}),
                opts=mine,
            )
            aws.cloudwatch.EventTarget(f"{name}-{key}", rule=rule.name, arn=queue.arn, opts=mine)
        return queue
