"""What a stack file may not ask of AWS, and what each refusal says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from pydantic import ValidationError

from components.platforms.aws.judge import judge
from components.platforms.aws.settings import AwsSettings
from components.platforms.contract import Disk, Pool, PoolRequest, Sharing, Taint
from components.typed.refusal import Problem
from tests.machines import G5

ACCOUNT = "123456789012"
ZONES = ["eu-west-1a", "eu-west-1b"]
CERTIFICATE = f"arn:aws:acm:eu-west-1:{ACCOUNT}:certificate/01234567-89ab-cdef-0123-456789abcdef"
ADOPTED = {"adopt": {"vpc": "vpc-0123456789abcdef0", "subnets": dict.fromkeys(ZONES, "subnet-0123456789abcdef0")}}


def settings(**more: Any) -> AwsSettings:
    plain: dict[str, Any] = {"kind": "aws", "region": "eu-west-1", "account": ACCOUNT, "network": {"zones": ZONES}}
    return AwsSettings.model_validate(plain | more)


def ingress(**more: Any) -> dict[str, Any]:
    return {"host": "llm.example.com", "certificate": CERTIFICATE} | more


def pool(**more: Any) -> PoolRequest:
    own = {key: more.pop(key) for key in ("min_nodes", "max_nodes", "gpu_resource", "node_image") if key in more}
    pool_made = Pool("gpu", {"workerType": "gpu"}, (Taint("workerType", "gpu"),), 1, max_nodes=2)
    return PoolRequest(replace(pool_made, **own), machine=more.pop("machine", G5), **more)


def problems_of(place: AwsSettings, request: PoolRequest | None = None, environment: str = "dev") -> list[Problem]:
    return list(judge(place, {"gpu": request or pool()}, environment))


def only(place: AwsSettings, request: PoolRequest | None = None) -> tuple[int, str]:
    problems = problems_of(place, request)
    assert len(problems) == 1, [(int(p.code[3:]), p.path, p.message) for p in problems]
    return int(problems[0].code[3:]), ".".join(map(str, problems[0].path))


def test_a_plain_stack_and_an_adopted_one_are_allowed() -> None:
    assert problems_of(settings(ingress=ingress())) == []
    assert problems_of(settings(cluster={"adopt": "theirs"}, network=ADOPTED)) == []
    assert problems_of(settings(nodeProvisioning="karpenter", nodeImageRelease="v20260820")) == []


@pytest.mark.parametrize(
    ("more", "number", "path"),
    [
        ({"network": {"zones": ["eu-west-1a"]}}, 132, "platform.network.zones"),
        ({"network": {"zones": ["eu-west-1a", "us-east-1a"]}}, 132, "platform.network.zones"),
        ({"network": {"zones": ["eu-west-1a", "eu-west-1a", "eu-west-1b"]}}, 132, "platform.network.zones"),
        ({"network": {"zones": ZONES, "cidr": "10.40.0.0/20"}}, 139, "platform.network.cidr"),
        ({"network": {"zones": ZONES, "cidr": "11.0.0.0/16"}}, 139, "platform.network.cidr"),
        ({"network": {"zones": ZONES, "cidr": "10.40.1.0/16"}}, 139, "platform.network.cidr"),
        ({"cluster": {"adopt": "theirs"}}, 133, "platform.network.adopt"),
        ({"cluster": {"adopt": "theirs", "version": "1.35"}, "network": ADOPTED}, 133, "platform.cluster.version"),
        ({"cluster": {"version": "1.20"}}, 143, "platform.cluster.version"),
        ({"cluster": {"systemPool": {"min": 3, "max": 2}}}, 6, "platform.cluster.systemPool.min"),
        ({"cluster": {"systemPool": {"machine": "m7g.large"}}}, 42, "platform.cluster.systemPool.machine"),
        ({"cluster": {"apiAllowedNetworks": ["0.0.0.0/0"]}}, 39, "platform.cluster.apiAllowedNetworks.0"),
        ({"ingress": ingress(public=True)}, 39, "platform.ingress.allowedNetworks"),
        ({"ingress": ingress(allowedNetworks=["0.0.0.0/1"])}, 39, "platform.ingress.allowedNetworks.0"),
        (
            {"ingress": ingress(certificate=CERTIFICATE.replace("eu-west-1", "us-east-1"))},
            140,
            "platform.ingress.certificate",
        ),
        (
            {"ingress": ingress(certificate=CERTIFICATE.replace(ACCOUNT, "210987654321"))},
            140,
            "platform.ingress.certificate",
        ),
        (
            {"ingress": ingress(public=True, allowedNetworks=["192.0.2.0/24"]), "network": ADOPTED},
            133,
            "platform.network.adopt.publicSubnets",
        ),
        ({"nodeProvisioning": "karpenter"}, 134, "platform.nodeImageRelease"),
    ],
)
def test_a_place_that_would_fail_or_stand_open_is_refused_at_its_own_path(
    more: dict[str, Any], number: int, path: str
) -> None:
    assert only(settings(**more)) == (number, path)


KARPENTER = settings(nodeProvisioning="karpenter", nodeImageRelease="v20260820")


@pytest.mark.parametrize(
    ("place", "request_", "number", "path"),
    [
        (settings(), pool(zones=("eu-west-1c",)), 132, "pools.gpu.zones.0"),
        (settings(), pool(reservation="cr-1"), 137, "pools.gpu.zones"),
        (settings(), pool(reservation="cr-1", zones=("eu-west-1a",), spot=True), 137, "pools.gpu.capacity"),
        (settings(), pool(reservation="block-1", zones=("eu-west-1a",)), 137, "pools.gpu.reservation"),
        (settings(), pool(capacity_block=True), 137, "pools.gpu.reservation"),
        (settings(), pool(disk=Disk(10)), 138, "pools.gpu.disk.size"),
        (settings(), pool(disk=Disk(200, 90_000)), 138, "pools.gpu.disk.iops"),
        (settings(), pool(disk=Disk(200, 3000, 1000)), 138, "pools.gpu.disk.throughput"),
        (settings(), pool(machine=replace(G5, architecture="arm64")), 42, "pools.gpu.machine"),
        (
            settings(),
            pool(node_image="bottlerocket-nvidia", sharing=Sharing("timeSlicing", replicas=2)),
            136,
            "pools.gpu.nodeImage",
        ),
        (KARPENTER, pool(min_nodes=1), 135, "pools.gpu.min"),
        (KARPENTER, pool(gpu_resource="nvidia.com/mig-1g.10gb"), 136, "pools.gpu.sharing"),
    ],
)
def test_a_pool_that_aws_would_refuse_or_never_bring_is_refused_before(
    place: AwsSettings, request_: PoolRequest, number: int, path: str
) -> None:
    assert only(place, request_) == (number, path)


def test_a_reservation_in_one_zone_and_a_fast_disk_are_allowed() -> None:
    one = pool(reservation="cr-0123", zones=("eu-west-1b",), capacity_block=True, disk=Disk(500, 8000, 2000))
    assert problems_of(settings(), one) == []


def test_every_refusal_says_what_is_allowed() -> None:
    worst = settings(cluster={"apiAllowedNetworks": ["0.0.0.0/0"], "systemPool": {"machine": "t4g.large"}})
    for problem in problems_of(worst, pool(zones=("us-east-1a",), disk=Disk(1, 1, 1))):
        assert problem.allowed
        assert problem.fix or problem.has_value


@pytest.mark.parametrize(
    "more",
    [
        {"account": 123456789012},
        {"account": "12345"},
        {"region": "Ireland"},
        {"network": {"zones": ["eu-west-1"]}},
        {"cluster": {"version": 1.35}},
        {"ingress": ingress(host="https://llm.example.com")},
        {"ingress": {"host": "llm.example.com"}},
        {"cluster": {"admins": ["me"]}},
        {"nodeImageRelease": "latest"},
        {"instanceType": "g5.8xlarge"},
    ],
)
def test_a_value_of_the_wrong_form_is_refused_by_its_field(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        settings(**more)
