"""A GPU pool as a Karpenter NodePool with its EC2NodeClass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.platforms.aws.cluster import Cluster
from components.platforms.aws.network import Network
from components.platforms.aws.nodes import NodeRole, disk, node_config, user_data_text
from components.platforms.aws.tables import node_image
from components.platforms.aws.template_tags import local_disk_gib, own_labels
from components.platforms.contract import PoolRequest

_GPU = "nvidia.com/gpu"


def capacity_types(request: PoolRequest) -> list[str]:
    """Return how instances may be bought. A reservation is a type of its own, with no fallback to on-demand prices.
    Source: Karpenter 1.14 documentation, Utilizing ODCRs."""
    if request.reservation is not None:
        return ["reserved"]
    return ["spot"] if request.spot else ["on-demand"]


def node_pool(request: PoolRequest, zones: Sequence[str], idle_seconds: int) -> dict[str, Any]:
    """Build the NodePool's ``spec``: one machine type, at most ``max`` of it, removed when nothing runs on it.

    ``WhenEmpty`` because the other policies move pods, and moving a model means killing it. Nodes do not expire for the
    same reason, and none is ended because its image or template is another now: it goes when its models sleep. (An
    annotation on the pods would also keep them from being drained before a spot machine is taken back.) The limit on
    GPUs is left out where cards are shared: a node then offers more of them than its machine has.
    Sources: Karpenter 1.14 documentation, NodePools; kubernetes-sigs/karpenter, pkg/utils/pod/scheduling.go.
    """
    pool = request.pool
    assert request.machine is not None  # already checked
    requirements = {
        "kubernetes.io/arch": ["amd64"],
        "kubernetes.io/os": ["linux"],
        "node.kubernetes.io/instance-type": [request.machine.name],
        "karpenter.sh/capacity-type": capacity_types(request),
        "topology.kubernetes.io/zone": list(request.zones or zones),
    }
    limits = {"nodes": str(pool.max_nodes)}
    if request.sharing is None:
        limits[_GPU] = str(pool.max_nodes * pool.gpus_per_node)
    return {
        "template": {
            "metadata": {"labels": own_labels(request)},
            "spec": {
                "nodeClassRef": {"group": "karpenter.k8s.aws", "kind": "EC2NodeClass", "name": pool.name},
                "requirements": [
                    {"key": key, "operator": "In", "values": values} for key, values in requirements.items()
                ],
                "taints": [{"key": t.key, "value": t.value, "effect": t.effect} for t in pool.taints],
                "expireAfter": "Never",
            },
        },
        "limits": limits,
        "disruption": {
            "consolidationPolicy": "WhenEmpty",
            "consolidateAfter": f"{idle_seconds}s",
            "budgets": [{"nodes": "10%"}, {"nodes": "0", "reasons": ["Drifted"]}],  # the first is the default
        },
    }


def node_class(
    request: PoolRequest,
    release: str,
    role: pulumi.Input[str],
    subnets: Sequence[pulumi.Input[str]],
    security_group: pulumi.Input[str],
    tags: Mapping[str, str],
) -> dict[str, Any]:
    """Build the EC2NodeClass's ``spec``: the image at one release, local NVMe as one disk, the metadata service closed
    to pods. Source: Karpenter 1.14 documentation, NodeClasses."""
    image = node_image(request.pool.node_image)
    ebs = disk(request.disk)
    spec: dict[str, Any] = {
        "amiSelectorTerms": [{"alias": f"{image.family}@{release}"}],
        "role": role,
        "subnetSelectorTerms": [{"id": subnet} for subnet in subnets],
        "securityGroupSelectorTerms": [{"id": security_group}],
        "metadataOptions": {
            "httpEndpoint": "enabled",
            "httpProtocolIPv6": "disabled",
            "httpPutResponseHopLimit": 1,
            "httpTokens": "required",
        },
        "blockDeviceMappings": [
            {
                "deviceName": image.data_device,
                "ebs": {
                    "volumeType": "gp3",
                    "volumeSize": f"{ebs['volume_size']}Gi",
                    "iops": ebs["iops"],
                    "throughput": ebs["throughput"],
                    "encrypted": True,
                    "deleteOnTermination": True,
                },
            }
        ],
        "tags": dict(tags),
    }
    if local_disk_gib(request) > 0:
        spec["instanceStorePolicy"] = "RAID0"
    gates = {key: value for key, value in node_config(request).items() if key == "featureGates"}
    if gates and image.node_config:
        spec["userData"] = user_data_text(gates)
    if request.reservation is not None:
        spec["capacityReservationSelectorTerms"] = [{"id": request.reservation}]
    return spec


class AwsKarpenterPool(pulumi.ComponentResource):
    """The NodePool and EC2NodeClass for nodes of one kind. Costs nothing until a pod asks for a GPU.

    ``after`` must name the controller, so that on ``destroy`` it is there to remove the nodes.
    """

    def __init__(
        self,
        name: str,
        request: PoolRequest,
        release: str,
        cluster: Cluster,
        network: Network,
        role: NodeRole,
        idle_seconds: int,
        tags: Mapping[str, str],
        protect: bool,
        after: Sequence[pulumi.Resource],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        pool = request.pool.name
        super().__init__("ebbtide:platforms:AwsKarpenterPool", f"{name}-{pool}", None, opts)
        subnets = network.subnets(request.zones)
        described = k8s.apiextensions.CustomResource(
            f"{name}-{pool}-class",
            api_version="karpenter.k8s.aws/v1",
            kind="EC2NodeClass",
            metadata={"name": pool},
            spec=node_class(
                request, release, role.name, subnets, cluster.security_group, {**tags, "Name": f"{name}-{pool}"}
            ),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[*after]),
        )
        k8s.apiextensions.CustomResource(
            f"{name}-{pool}-pool",
            api_version="karpenter.sh/v1",
            kind="NodePool",
            metadata={"name": pool},
            spec=node_pool(request, list(network.private), idle_seconds),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[described], protect=protect),
        )
        self.register_outputs({})
