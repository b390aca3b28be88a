"""The managed node groups of a recorded graph, and the flags of the autoscaler that the stack installs. Pure.

What EKS adds is written down here: the tags by which the autoscaler finds its groups, and which zone a subnet is in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from components.platforms.contract import Taint

STACKS = ("aws-dev", "aws-prod")
TEMPLATE = "k8s.io/cluster-autoscaler/node-template"
Resource = dict[str, Any]
_LATE = re.compile(r"\$\{(urn:[^{}#]+)#")
_EFFECTS = {"NO_SCHEDULE": "NoSchedule", "PREFER_NO_SCHEDULE": "PreferNoSchedule", "NO_EXECUTE": "NoExecute"}


@dataclass(frozen=True)
class NodeGroup:
    """One group: what its nodes register with, and the ``tags`` that the stack writes on its auto scaling group."""

    pool: str
    machine: str
    least: int
    most: int
    zones: tuple[str, ...]
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    tags: Mapping[str, str]

    @property
    def name(self) -> str:
        """The name of its auto scaling group."""
        return f"eks-{self.pool}"


def node_groups(graph: list[Resource]) -> list[NodeGroup]:
    """Every managed node group of the graph, the one without GPUs too."""
    known = {each["urn"]: each for each in graph}

    def named(value: str) -> Resource:
        """The resource that a late value is read from."""
        match = _LATE.match(value)
        assert match, value
        return known[match[1]]

    def group(urn: str, resource: Resource) -> NodeGroup:
        written = [each["inputs"] for each in graph if each["type"] == "aws:autoscaling/tag:Tag"]
        mine = [each["tag"] for each in written if named(each["autoscalingGroupName"])["urn"] == urn]
        size = resource["scalingConfig"]
        return NodeGroup(
            pool=resource["nodeGroupNamePrefix"].removesuffix("-"),
            machine=resource["instanceTypes"][0],
            least=int(size["minSize"]),
            most=int(size["maxSize"]),
            zones=tuple(named(subnet)["inputs"]["availabilityZone"] for subnet in resource["subnetIds"]),
            labels=resource["labels"],
            taints=tuple(Taint(t["key"], t["value"], _EFFECTS[t["effect"]]) for t in resource.get("taints", ())),
            tags={tag["key"]: tag["value"] for tag in mine},
        )

    return [group(each["urn"], each["inputs"]) for each in graph if each["type"] == "aws:eks/nodeGroup:NodeGroup"]


def release_of(graph: list[Resource]) -> Resource:
    """The Helm release of the Cluster Autoscaler."""
    (inputs,) = [each["inputs"] for each in graph if each["inputs"].get("chart") == "cluster-autoscaler"]
    return dict(inputs)


def discovery_tags(release: Resource) -> dict[str, str]:
    """The tags that EKS puts on every group of the cluster, and by whose keys the chart lets the autoscaler look."""
    cluster = release["values"]["autoDiscovery"]["clusterName"]
    return {"k8s.io/cluster-autoscaler/enabled": "true", f"k8s.io/cluster-autoscaler/{cluster}": "owned"}


def flags_of(release: Resource) -> tuple[str, ...]:
    """The flags that the chart makes of the stack's values (its templates/deployment.yaml)."""
    values = release["values"]
    return (
        f"--cloud-provider={values['cloudProvider']}",
        f"--namespace={release['namespace']}",
        f"--node-group-auto-discovery=asg:tag={','.join(discovery_tags(release))}",
        *(f"--{key}={value}" for key, value in values["extraArgs"].items()),
    )
