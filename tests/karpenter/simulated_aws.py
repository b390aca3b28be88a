"""A simulated AWS (moto's server) with a stack's auto scaling groups, asked in the query protocol of the real one.

moto makes and ends instances as a group's size asks; nothing runs on them. It checks no signature.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import httpx

from lab.rehearsal.process import Part
from tests.installed import locked_python
from tests.karpenter.node_groups import NodeGroup

_VERSIONS = {"autoscaling": "2011-01-01", "ec2": "2016-11-15"}
_NAMESPACE = re.compile(r' xmlns="[^"]*"')


def server(port: int, *, managed_policies: bool = False) -> Part:
    """moto's server on loopback, in a virtual environment of its own; with AWS's own policies if they are needed."""
    python = locked_python("moto", Path(__file__).with_name("moto.txt"))
    environment = {"MOTO_IAM_LOAD_MANAGED_POLICIES": "true"} if managed_policies else {}
    return Part("moto", (str(python), "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)), environment)


@dataclass(frozen=True)
class Instance:
    id: str
    group: str
    zone: str


@dataclass(frozen=True)
class Size:
    """What EC2 says of a machine."""

    vcpus: int
    memory_mib: int
    gpus: int


@dataclass(frozen=True)
class SimulatedAws:
    url: str
    region: str

    def answers(self) -> bool:
        return httpx.get(f"{self.url}/moto-api/", trust_env=False).is_success

    def forget(self) -> None:
        """Begin anew with an empty account."""
        httpx.post(f"{self.url}/moto-api/reset", trust_env=False).raise_for_status()

    def cloud_config(self) -> str:
        """The autoscaler's configuration that leads its calls here."""
        return "".join(
            f'[ServiceOverride "{service}"]\nService={service}\nRegion={self.region}\nURL={self.url}\n'
            f"SigningRegion={self.region}\nSigningMethod=v4\nSigningName={service}\n"
            for service in ("autoscaling", "ec2", "eks")
        )

    def make(self, group: NodeGroup, tags: Mapping[str, str]) -> None:
        """An auto scaling group as EKS makes one for a managed node group, with ``tags``."""
        self._call("ec2", "CreateLaunchTemplate", LaunchTemplateName=group.name, LaunchTemplateData={"EbsOptimized": 1})
        launched = {"LaunchTemplateName": group.name, "Version": "1"}
        overrides = [{"InstanceType": group.machine}]
        self._call(
            "autoscaling",
            "CreateAutoScalingGroup",
            AutoScalingGroupName=group.name,
            MinSize=group.least,
            MaxSize=group.most,
            DesiredCapacity=group.least,
            AvailabilityZones=group.zones,
            MixedInstancesPolicy={"LaunchTemplate": {"LaunchTemplateSpecification": launched, "Overrides": overrides}},
            Tags=[_tag(group, key, value) for key, value in tags.items()],
        )

    def tag(self, group: NodeGroup, key: str, value: str) -> None:
        self._call("autoscaling", "CreateOrUpdateTags", Tags=[_tag(group, key, value)])

    def sizes(self) -> dict[str, int]:
        """How many machines each group wants, by its name."""
        return {_text(each, "AutoScalingGroupName"): int(_text(each, "DesiredCapacity")) for each in self._groups()}

    def instances(self) -> list[Instance]:
        """The machines that are there."""
        return [
            Instance(_text(one, "InstanceId"), _text(group, "AutoScalingGroupName"), _text(one, "AvailabilityZone"))
            for group in self._groups()
            for one in group.iterfind("Instances/member")
        ]

    def networks(self) -> list[str]:
        """The address ranges of the VPCs, without the one that an account begins with."""
        networks = self._call("ec2", "DescribeVpcs").iterfind("vpcSet/item")
        return [_text(each, "cidrBlock") for each in networks if _text(each, "isDefault") != "true"]

    def size_of(self, machine: str) -> Size:
        (machine_type,) = self._call("ec2", "DescribeInstanceTypes", **{"InstanceType.1": machine}).iterfind(
            ".//item[vCpuInfo]"
        )
        gpus = sum(int(count.text or 0) for count in machine_type.iterfind("gpuInfo/gpus/item/count"))
        return Size(
            int(_text(machine_type, "vCpuInfo/defaultVCpus")), int(_text(machine_type, "memoryInfo/sizeInMiB")), gpus
        )

    def _groups(self) -> Iterator[ElementTree.Element]:
        return self._call("autoscaling", "DescribeAutoScalingGroups").iterfind(".//AutoScalingGroups/member")

    def _call(self, service: str, action: str, **parameters: Any) -> ElementTree.Element:
        scope = f"Credential=test/20260101/{self.region}/{service}/aws4_request"  # by which moto knows the service
        answer = httpx.post(
            self.url,
            data={"Action": action, "Version": _VERSIONS[service], **dict(_flat(parameters))},
            headers={"Authorization": f"AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0"},
            trust_env=False,
            timeout=60,
        )
        assert answer.is_success, answer.text
        return ElementTree.fromstring(_NAMESPACE.sub("", answer.text))


def _tag(group: NodeGroup, key: str, value: str) -> dict[str, str]:
    of = {"ResourceId": group.name, "ResourceType": "auto-scaling-group"}
    return {"Key": key, "Value": value, "PropagateAtLaunch": "false", **of}


def _flat(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """A nest of mappings and lists as the query protocol spells it: ``Tags.member.1.Key``."""
    if isinstance(value, Mapping):
        for key, child in value.items():
            yield from _flat(child, f"{name}.{key}".lstrip("."))
    elif isinstance(value, (list, tuple)):
        for number, child in enumerate(value, 1):
            yield from _flat(child, f"{name}.member.{number}")
    else:
        yield name, str(value)


def _text(element: ElementTree.Element, path: str) -> str:
    text = element.findtext(path)
    assert text is not None, path
    return text
