"""Google Cloud under a recorder: what it would be asked for, as it goes over the wire."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Mapping
from typing import Any

import pulumi
import pytest
from google.protobuf import json_format
from pulumi.runtime import mocks

from components.catalog.machine import Machine
from components.platforms.contract import About, Platform, Pool, PoolRequest, Taint
from components.platforms.gcp.settings import GcpSettings

pytest.importorskip("pulumi_gcp")

NUMBER = "123456789012"
PROJECT, REGION = "acme-llm-dev", "europe-west4"
OWN = Taint("workerType", "gpu_1xl4")
SETTINGS: Mapping[str, Any] = {
    "kind": "gcp",
    "project": PROJECT,
    "region": REGION,
    "cluster": {"version": "1.34"},
    "network": {"cidr": "10.40.0.0/16", "zones": ["europe-west4-a", "europe-west4-b"]},
    "ingress": {"host": "llm.example.com", "certificate": "llm"},
}
L4 = Machine(
    name="g2-standard-16",
    place="gcp",
    gpu="L4",
    gpus=1,
    gpu_memory_gib=24,
    compute_capability="8.9",
    vcpus=16,
    memory_gib=64,
    interconnect="none",
)
A100 = Machine(
    name="a2-ultragpu-8g",
    place="gcp",
    gpu="A100-80GB",
    gpus=8,
    gpu_memory_gib=80,
    compute_capability="8.0",
    vcpus=96,
    memory_gib=1360,
    interconnect="nvlink",
    local_disk_gib=3000,
)
H100 = Machine(
    name="a3-highgpu-8g",
    place="gcp",
    gpu="H100",
    gpus=8,
    gpu_memory_gib=80,
    compute_capability="9.0",
    vcpus=208,
    memory_gib=1872,
    interconnect="nvlink",
    local_disk_gib=6000,
)
THERE: Mapping[str, Any] = {
    "name": "theirs",
    "endpoint": "10.9.9.9",
    "subnetwork": "projects/acme-llm-dev/regions/europe-west4/subnetworks/theirs",
    "datapathProvider": "ADVANCED_DATAPATH",
    "workloadIdentityConfigs": [{"workloadPool": f"{PROJECT}.svc.id.goog"}],
    "masterAuths": [{"clusterCaCertificate": "Q0E=", "clientCertificateConfigs": []}],
}


def request(name: str = "gpu-1xl4", machine: Machine = L4, most: int = 2, **changes: Any) -> PoolRequest:
    pool = Pool(name, {"workerType": "gpu_1xl4"}, (OWN,), machine.gpus, max_nodes=most)
    return PoolRequest(**{"pool": pool, "machine": machine, **changes})


class _Cloud(mocks.Mocks):
    """Answers as Google's API would, as far as the program reads it."""

    def __init__(self, **answers: Mapping[str, Any]) -> None:
        self.answers = answers

    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        known: dict[str, Mapping[str, Any]] = {
            "getProject": {"projectId": args.args.get("projectId"), "number": NUMBER},
            "getProjectServiceAccount": {
                "emailAddress": f"service-{NUMBER}@gs-project-accounts.iam.gserviceaccount.com"
            },
            "getClientConfig": {"accessToken": "ya29.short-lived"},
            "getCluster": THERE,
        }
        return dict((known | self.answers).get(args.token.rpartition(":")[2].rpartition("/")[2], {})), []

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        outputs = dict(args.inputs)
        if args.typ == "gcp:container/cluster:Cluster":
            outputs |= {"endpoint": "10.0.0.2", "masterAuth": {"clusterCaCertificate": "Q0E="}}
            outputs |= {"controlPlaneEndpointsConfig": {"dnsEndpointConfig": {"endpoint": "gke-1.gke.goog"}}}
        if args.typ == "gcp:serviceaccount/account:Account":
            outputs["email"] = f"{args.inputs['accountId']}@{PROJECT}.iam.gserviceaccount.com"
        return f"{args.name}-id", outputs


class _Recorder(mocks.MockMonitor):
    def __init__(self, cloud: _Cloud) -> None:
        super().__init__(cloud)
        self.requests: list[Any] = []

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  the SDK's name
        self.requests.append(request)
        return super().RegisterResource(request)


@dataclasses.dataclass
class Resources:
    """The place, and every registration it made."""

    platform: Platform
    requests: list[Any]

    def all(self, kind: str) -> list[Any]:
        return [one for one in self.requests if one.type.endswith(f":{kind}")]

    def one(self, kind: str, name: str | None = None) -> Any:
        (match,) = [one for one in self.all(kind) if name in (None, one.name)]
        return match

    def inputs(self, kind: str, name: str | None = None) -> dict[str, Any]:
        return json_format.MessageToDict(self.one(kind, name).object)


def resources_of(
    *pools: PoolRequest, protect: bool = False, answers: Mapping[str, Mapping[str, Any]] | None = None, **changes: Any
) -> Resources:
    from components.platforms.gcp.platform import build

    asyncio.set_event_loop(asyncio.new_event_loop())
    cloud = _Cloud(**(answers or {}))
    recorder = _Recorder(cloud)
    mocks.set_mocks(cloud, project="ebbtide", stack="gcp-dev", preview=False, monitor=recorder)
    settings = GcpSettings.model_validate({**SETTINGS, **changes})
    platforms: list[Platform] = []

    def program() -> None:
        about = About("ebbtide-gcp-dev", "dev", protect=protect)
        platforms.append(build(settings, {p.pool.name: p for p in pools}, about))

    try:
        pulumi.runtime.test(program)()
    finally:
        LAST[:] = recorder.requests
    return Resources(platforms[0], recorder.requests)


LAST: list[Any] = []


def value(output: pulumi.Input[Any]) -> Any:
    values: list[Any] = []
    pulumi.runtime.test(lambda: pulumi.Output.from_input(output).apply(values.append))()
    return values[0]


def node(resources: Resources, name: str = "gpu-1xl4") -> dict[str, Any]:
    return dict(resources.inputs("NodePool", name)["nodeConfig"])


def plain(one: Any) -> dict[str, Any]:
    """A registration's inputs; a whole number is whole again, which the wire does not tell from 1.0."""
    return {key: _whole(value) for key, value in json_format.MessageToDict(one.object).items()}


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _whole(child) for key, child in value.items()}
    if isinstance(value, list):
        return [_whole(child) for child in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value
