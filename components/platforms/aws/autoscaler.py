"""The Cluster Autoscaler: nodes of managed node groups come and go with the pods that need them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.platforms.aws.cluster import Cluster
from components.platforms.aws.pod_role import PodRole
from components.platforms.aws.rights import cluster_autoscaler
from components.platforms.aws.tables import autoscaler_image, known_minors, pinned

_REPOSITORY = "https://kubernetes.github.io/autoscaler"
_NAMESPACE, _ACCOUNT = "kube-system", "cluster-autoscaler"


def autoscaler_tag(minor: str) -> str:
    """Return the image tag for a cluster's version. Raises ``ValueError`` where the table has none."""
    tag = autoscaler_image(minor)
    if tag is None:
        known = ", ".join(known_minors())
        raise ValueError(
            f"the cluster runs Kubernetes {minor}, for which components/platforms/aws/versions.yaml has no Cluster "
            f"Autoscaler; it has {known}: add a row, or write platform.autoscaler: existing"
        )
    return tag


def autoscaler_values(
    cluster: str, region: str, tag: pulumi.Input[str], order: pulumi.Input[dict[str, list[str]]] | None = None
) -> dict[str, Any]:
    """Build chart values: groups are found by the tags EKS puts on them; one group per pool, so nothing is balanced.

    The region is given because pods cannot reach the nodes' metadata. Thresholds and times are on the GPU pools' own
    groups (``template_tags.py``), so the system pool keeps the autoscaler's defaults. ``order`` is given where a model
    has several pools, because the autoscaler does not read a pod's preferences. The chart makes the ConfigMap and the
    right to read it. Source: its templates priority-expander-configmap.yaml and role.yaml.
    """
    expander = "least-waste" if order is None else "priority,least-waste"
    values: dict[str, Any] = {
        "cloudProvider": "aws",
        "awsRegion": region,
        "autoDiscovery": {"clusterName": cluster},
        "fullnameOverride": _ACCOUNT,
        "image": {"tag": tag},
        "rbac": {"serviceAccount": {"name": _ACCOUNT}},
        "resources": {"requests": {"cpu": "100m", "memory": "300Mi"}, "limits": {"memory": "1Gi"}},
        "extraArgs": {"expander": expander, "skip-nodes-with-local-storage": "false"},
    }
    return values if order is None else {**values, "expanderPriorities": order}


class AwsAutoscaler(pulumi.ComponentResource):
    """The Cluster Autoscaler and its rights over this cluster's groups.

    At rest it costs one pod on the system nodes. It decides within seconds; a node takes as long as EC2 and the image
    take.
    """

    def __init__(
        self,
        name: str,
        region: str,
        cluster: Cluster,
        after: Sequence[pulumi.Resource],
        order: pulumi.Input[dict[str, list[str]]] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:platforms:AwsAutoscaler", f"{name}-autoscaler", None, opts)
        role = PodRole(
            name,
            "autoscaler",
            cluster.ref,
            _NAMESPACE,
            _ACCOUNT,
            cluster_autoscaler(cluster.name),
            pulumi.ResourceOptions(parent=self),
        )
        tag = pulumi.Output.from_input(cluster.version).apply(autoscaler_tag)
        k8s.helm.v3.Release(
            f"{name}-cluster-autoscaler",
            name="cluster-autoscaler",
            chart="cluster-autoscaler",
            version=pinned("cluster-autoscaler-chart").version,
            namespace=_NAMESPACE,
            repository_opts={"repo": _REPOSITORY},
            values=autoscaler_values(cluster.name, region, tag, order),
            timeout=600,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[role.association, *after]),
        )
        self.register_outputs({})
