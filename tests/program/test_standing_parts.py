"""What stands without GPU nodes, counted off the settings, held against the graph that the same settings give."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.platforms.standing import prices
from infra.planner.cost import cost
from infra.recorder.command import STACKS, recording_of
from infra.recorder.recorder import graph
from infra.recorder.stack_source import read_stack, stack_file
from infra.stackfile.load import load_file
from infra.stackfile.schema.stack import StackConfig
from tests.program.graph_reading import ALL_STACKS, Resource, kind, of, resources

Change = Callable[[dict[str, Any]], None]
NEVER_BILLED = {
    "BackendConfig", "ComputeClass", "ConfigMap", "CustomResource", "Deployment", "EC2NodeClass", "FrontendConfig",
    "InterceptorRoute", "Job", "ManagedCertificate", "Namespace", "NetworkPolicy", "NodePool", "PodDisruptionBudget",
    "Release", "ResourceQuota", "Role", "RoleBinding", "ScaledObject", "Secret", "Service", "ServiceAccount",
    "StorageClass", "ValidatingAdmissionPolicy", "ValidatingAdmissionPolicyBinding",
}  # fmt: skip
"""Kinds of Kubernetes objects that no cloud bills: a Service only where it is a LoadBalancer, which none of them is."""
OWN_ROOMS = ("ebbtide:", "pulumi:", "random:", "docker-build:")


def _aws_everything(platform: dict[str, Any]) -> None:
    platform["ingress"] |= {"public": True, "allowedNetworks": ["198.51.100.0/24"]}
    platform["network"] |= {"privateEndpoints": True, "nat": "perZone"}
    platform["cluster"] |= {"apiAllowedNetworks": ["198.51.100.0/24"]}
    platform |= {"nodeProvisioning": "karpenter", "nodeImageRelease": "v1.48.0"}


def _azure_open(platform: dict[str, Any]) -> None:
    platform["ingress"] |= {"public": True, "allowedNetworks": ["198.51.100.0/24"]}
    platform["cluster"]["apiAllowedNetworks"] = ["198.51.100.0/24"]
    platform["network"]["zones"] = ["1"]


def _gcp_open(platform: dict[str, Any]) -> None:
    networks = [f"198.51.{third}.0/24" for third in range(12)]
    platform["ingress"] |= {"public": True, "allowedNetworks": networks, "certificate": "managed"}


def _no_door(platform: dict[str, Any]) -> None:
    del platform["ingress"]


VARIANTS: dict[str, tuple[str, Change]] = {
    "aws-dev on the internet with Karpenter and endpoints": ("aws-dev", _aws_everything),
    "azure-dev on the internet in one zone": ("azure-dev", _azure_open),
    "gcp-dev on the internet": ("gcp-dev", _gcp_open),
    "gcp-prod without a way in": ("gcp-prod", _no_door),
}
ALL = [*ALL_STACKS, *VARIANTS]


@pytest.fixture(scope="module")
def standing_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], tuple[StackConfig, tuple[Resource, ...]]]:
    """A variant's stack and its recorded graph, each once."""
    folder = tmp_path_factory.mktemp("stacks")

    @cache
    def make(name: str) -> tuple[StackConfig, tuple[Resource, ...]]:
        if name not in VARIANTS:
            return load_file(stack_file(STACKS, name)).config, resources(name)
        stack, change = VARIANTS[name]
        file = yaml.safe_load(stack_file(STACKS, stack).read_text())
        change(file["config"]["ebbtide:platform"])
        written = Path(folder) / f"Pulumi.{stack}.yaml"
        written.write_text(yaml.safe_dump(file))
        source = read_stack(written)
        return source.loaded.config, tuple(graph(recording_of(source, stack).records))

    return make


@pytest.mark.parametrize("name", ALL)
def test_every_type_that_is_asked_for_has_a_price_or_is_named_as_free_or_billed_by_use(
    name: str, standing_of: Any
) -> None:
    stack, asked_for = standing_of(name)
    if stack.platform.kind not in COUNTED:
        return
    clouds = {r["type"] for r in asked_for if not r["type"].startswith((*OWN_ROOMS, "kubernetes:"))}
    known = set(prices(stack.platform.kind).resources)
    assert clouds - known == set(), "add them to the place's standing.yaml, and what bills them to its standing.py"
    objects = {kind(r) for r in asked_for if r["type"].startswith("kubernetes:")}
    assert objects - NEVER_BILLED - {"Ingress"} == set(), "a cloud may bill them"
    types = {r["inputs"].get("spec", {}).get("type", "ClusterIP") for r in of(asked_for, "Service")}
    assert types <= {"ClusterIP"}


@pytest.mark.parametrize("name", ALL)
def test_there_is_as_much_of_everything_as_the_graph_asks_for(name: str, standing_of: Any) -> None:
    stack, asked_for = standing_of(name)
    place = stack.platform.kind
    if place not in COUNTED:
        assert cost(stack).standing == ()
        return
    counted = {line.what: (line.least, line.most) for line in cost(stack).standing}
    asked = {what: both for what, both in COUNTED[place](asked_for).items() if both[1]}
    weights = sum(model.weights.bytes for model in stack.models.values()) / 2**30
    stored = {what for what in counted if what.startswith("weights")}
    assert {counted.pop(what) for what in stored} == {(weights, weights)}
    assert counted == asked


def _same(number: float) -> tuple[float, float]:
    return number, number


def _one(entries: tuple[Resource, ...], kind_: str, ending: str = "") -> dict[str, Any]:
    (resource,) = [r for r in entries if r["type"] == kind_ and r["name"].endswith(ending)]
    inputs: dict[str, Any] = resource["inputs"]
    return inputs


def _aws(entries: tuple[Resource, ...]) -> dict[str, tuple[float, float]]:
    count = Counter(r["type"] for r in entries)
    group = _one(entries, "aws:eks/nodeGroup:NodeGroup", "-system")
    sizes = group["scalingConfig"]["minSize"], group["scalingConfig"]["maxSize"]
    template = _one(entries, "aws:ec2/launchTemplate:LaunchTemplate", "-system")
    disk = template["blockDeviceMappings"][0]["ebs"]["volumeSize"]
    endpoints = [r["inputs"] for r in entries if r["type"] == "aws:ec2/vpcEndpoint:VpcEndpoint"]
    balancers = [r["inputs"]["metadata"]["annotations"] for r in of(entries, "Ingress")]
    public = [a for a in balancers if a["alb.ingress.kubernetes.io/scheme"] == "internet-facing"]
    zones = len({r["inputs"]["availabilityZone"] for r in entries if r["type"] == "aws:ec2/subnet:Subnet"})
    return {
        "control plane": _same(count["aws:eks/cluster:Cluster"]),
        f"system nodes, {group['instanceTypes'][0]}": sizes,
        "disks of the system nodes": (sizes[0] * disk, sizes[1] * disk),
        "NAT gateways": _same(count["aws:ec2/natGateway:NatGateway"]),
        "public addresses of the NAT gateways": _same(count["aws:ec2/eip:Eip"]),
        "interface endpoints, one a zone": _same(
            sum(len(each["subnetIds"]) for each in endpoints if each["vpcEndpointType"] == "Interface")
        ),
        "load balancer": _same(len(balancers)),
        "public addresses of the load balancer": _same(zones * len(public)),
        "key": _same(count["aws:kms/key:Key"]),
    }


def _azure(entries: tuple[Resource, ...]) -> dict[str, tuple[float, float]]:
    count = Counter(r["type"] for r in entries)
    cluster = _one(entries, "azure-native:containerservice:ManagedCluster")
    (pool,) = cluster["agentPoolProfiles"]
    sizes = pool["minCount"], pool["maxCount"]
    private = bool(cluster["apiServerAccessProfile"]["enablePrivateCluster"])
    registry = _one(entries, "azure-native:containerregistry:Registry")["sku"]["name"]
    charts = [r["inputs"]["values"] for r in of(entries, "Release") if r["inputs"]["chart"] == "traefik"]
    assert {chart["service"]["spec"]["type"] for chart in charts} <= {"LoadBalancer"}
    internal = "service.beta.kubernetes.io/azure-load-balancer-internal"
    public = [chart for chart in charts if internal not in chart["service"]["annotations"]]
    return {
        "control plane": _same(cluster["sku"]["tier"] == "Standard"),
        f"system nodes, {pool['vmSize']}": sizes,
        "disks of the system nodes": sizes,
        "private endpoint of the API server": _same(private),
        "private DNS zone of the API server": _same(private),
        "NAT gateway": _same(count["azure-native:network:NatGateway"]),
        "public address of the NAT gateway": _same(count["azure-native:network:PublicIPAddress"]),
        "load balancer": _same(len(charts)),
        "public address of the load balancer": _same(len(public)),
        f"registry, {registry}": _same(1),
    }


def _gcp(entries: tuple[Resource, ...]) -> dict[str, tuple[float, float]]:
    count = Counter(r["type"] for r in entries)
    pools = [r["inputs"] for r in entries if r["type"] == "gcp:container/nodePool:NodePool"]
    (system,) = [pool for pool in pools if pool["name"] == "system"]
    sizes = _limits(system)
    disk = system["nodeConfig"]["bootDisk"]["sizeGb"]
    nodes = [_limits(pool) for pool in pools]
    behind = sum(least for least, _ in nodes), sum(most for _, most in nodes)
    gateways = count["gcp:compute/routerNat:RouterNat"]
    return {
        "control plane": _same(count["gcp:container/cluster:Cluster"]),
        f"system nodes, {system['nodeConfig']['machineType']}": sizes,
        "disks of the system nodes": (sizes[0] * disk, sizes[1] * disk),
        "Cloud NAT, by the node behind it": (behind[0] * gateways, behind[1] * gateways),
        "public address of Cloud NAT": _same(gateways),
        "load balancer, internal": _same(count["gcp:compute/address:Address"]),
        "load balancer, on the internet": _same(count["gcp:compute/globalAddress:GlobalAddress"]),
        "allow list of the load balancer": _same(count["gcp:compute/securityPolicy:SecurityPolicy"]),
        "key, its first version": _same(count["gcp:kms/cryptoKey:CryptoKey"]),
    }


def _limits(pool: dict[str, Any]) -> tuple[int, int]:
    return pool["autoscaling"]["totalMinNodeCount"], pool["autoscaling"]["totalMaxNodeCount"]


COUNTED = {"aws": _aws, "azure": _azure, "gcp": _gcp}
