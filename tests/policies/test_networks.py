"""Lists of networks: one that lets everybody in is found wherever it stands, and however it is written."""

from __future__ import annotations

import pytest

from infra.stackfile.own_networks import open_to_all
from tests.policies.stack import Stack, kube, urn
from tests.policies.test_rules import gate

OPEN = (
    ["10.0.0.0/8", "0.0.0.0/0"],
    ["0.0.0.0/1", "128.0.0.0/1"],
    ["10.0.0.0/8", "::/0"],
    ["what a cloud might read as everybody"],
    # many that are not adjacent, and together a large part of the internet
    [f"{first}.0.0.0/8" for first in range(1, 224, 2)],
    ["10.0.0.0/8", *(f"{first}.0.0.0/9" for first in range(20, 26, 2))],
    [f"{first}.{second}.0.0/16" for first in range(20, 30) for second in range(0, 60, 2)],
    ["2600::/17", "2700::/17", "2800::/17"],
)


@pytest.mark.parametrize("networks", OPEN, ids=lambda networks: " ".join(networks[:4]))
def test_a_list_with_an_open_network_in_any_place_is_open(networks: list[str]) -> None:
    assert open_to_all(networks)


def test_ones_own_networks_are_closed() -> None:
    assert not open_to_all(["10.0.0.0/8", " 192.168.0.0/16", "203.0.113.7/32", "2001:db8::/32"])


@pytest.mark.parametrize("networks", OPEN, ids=lambda networks: " ".join(networks[:4]))
def test_an_api_that_is_open_by_a_later_entry_of_its_list_is_blocked(networks: list[str]) -> None:
    head = Stack()
    head.inputs("cluster:Cluster")["vpcConfig"].update(endpointPublicAccess=True, publicAccessCidrs=networks)
    assert gate(Stack(), head).blocked_by == ["rule private-api"]


def test_an_api_open_to_ones_own_networks_passes_and_an_open_one_is_found_beside_an_unknown_one() -> None:
    head = Stack()
    vpc = head.inputs("cluster:Cluster")["vpcConfig"]
    vpc.update(endpointPublicAccess=True, publicAccessCidrs=["203.0.113.0/24"])
    assert gate(Stack(), head).blocked_by == []
    late = f"${{{urn('docker-build:index:Image', 'vllm-cuda')}#ip}}"
    vpc["publicAccessCidrs"] = [late, "203.0.113.0/24"]
    report = gate(Stack(), head)
    assert next(j for j in report.judged if j.verdict.rule.id == "private-api").verdict.state == "not evaluated"
    vpc["publicAccessCidrs"] = [late, "0.0.0.0/0"]
    assert gate(Stack(), head).blocked_by == ["rule private-api"]


@pytest.mark.parametrize("networks", OPEN, ids=lambda networks: " ".join(networks[:4]))
def test_a_load_balancer_or_ingress_that_is_open_by_a_later_entry_is_blocked(networks: list[str]) -> None:
    head = Stack()
    head.inputs("Ingress")["metadata"]["annotations"].update({
        "alb.ingress.kubernetes.io/scheme": "internet-facing",
        "alb.ingress.kubernetes.io/inbound-cidrs": ", ".join(networks),
    })  # fmt: skip
    head.resources.append(
        kube("core/v1:Service", "open", {"spec": {"type": "LoadBalancer", "loadBalancerSourceRanges": networks}})
    )
    # known-shape blocks besides: this product makes no Service of that kind
    (judged,) = [j for j in gate(Stack(), head).judged if j.blocks and j.verdict.rule.id == "public-listener"]
    assert {v.message for v in judged.standing} >= {"is open to the whole internet"}
    assert {v.at.rpartition("::")[2] for v in judged.standing if "open to" in v.message} == {
        "gateway-ingress", "open-service",
    }  # fmt: skip
