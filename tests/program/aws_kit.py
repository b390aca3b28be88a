"""A place on AWS told to a recorder: what it would ask the providers for, and what they would answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pulumi
from google.protobuf import json_format
from pulumi.runtime import mocks

from components.catalog.machine import Machine
from components.platforms.aws.platform import AwsPlatform
from components.platforms.aws.settings import AwsSettings
from components.platforms.contract import About, Platform, Pool, PoolRequest, Taint
from tests.machines import G5

ACCOUNT = "123456789012"
CERTIFICATE = f"arn:aws:acm:eu-west-1:{ACCOUNT}:certificate/01234567-89ab-cdef-0123-456789abcdef"
KUBERNETES = "pulumi:providers:kubernetes"
"""Its kubeconfig is a secret, which this recorder shows in clear and a checker of types would take for a mapping."""
_SIG = "4dabf18193072939515e22adb298388d"
_A100 = Machine(
    name="p4d.24xlarge",
    place="aws",
    gpu="A100",
    gpus=8,
    gpu_memory_gib=40,
    compute_capability="8.0",
    vcpus=96,
    memory_gib=1152,
    interconnect="NVLink",
    local_disk_gib=8000,
)


def pool(name: str, machine: Machine = G5, **more: Any) -> PoolRequest:
    """A pool as a stack would ask for it; keywords go to the request, but for those of the pool itself."""
    worker = name.replace("-", "_")
    own = {key: more.pop(key) for key in ("min_nodes", "max_nodes", "gpu_resource", "node_image") if key in more}
    pool_made = Pool(name, {"workerType": worker}, (Taint("workerType", worker),), machine.gpus, max_nodes=2)
    return PoolRequest(replace(pool_made, **own), machine=machine, **more)


POOLS = {"gpu-1xa10": pool("gpu-1xa10"), "gpu-8xa100": pool("gpu-8xa100", _A100, zones=("eu-west-1b",))}


def settings(**more: Any) -> AwsSettings:
    """A stack file's ``platform``; keys are camelCase as there."""
    plain = {
        "kind": "aws",
        "region": "eu-west-1",
        "account": ACCOUNT,
        "network": {"zones": ["eu-west-1a", "eu-west-1b"]},
    }
    return AwsSettings.model_validate(plain | more)


@dataclass(frozen=True)
class Told:
    """One resource as it was registered, inputs in wire case without the marks of secrets and outputs."""

    kind: str
    name: str
    urn: str
    parent: str
    inputs: dict[str, Any]
    protect: bool
    ignored: tuple[str, ...]
    after: frozenset[str]
    provider: str
    custom: bool


@dataclass
class Graph:
    told: list[Told] = field(default_factory=list)
    platform: Platform | None = None

    def of(self, kind: str) -> list[Told]:
        """Resources of a type's last part: ``NodeGroup``."""
        return [one for one in self.told if one.kind.rpartition(":")[2] == kind]

    def one(self, kind: str, ending: str = "") -> Told:
        matches = [one for one in self.of(kind) if one.name.endswith(ending)]
        assert len(matches) == 1, f"{len(matches)} of {kind} {ending}: {[one.name for one in matches]}"
        return matches[0]

    def before(self, resource: Told) -> set[str]:
        """URNs of all that exists before ``resource`` and goes after it."""
        known = {one.urn: one for one in self.told}
        passed: set[str] = set()
        queue = [resource.parent, *resource.after]
        while queue:
            if (urn := queue.pop()) in known and urn not in passed:
                passed.add(urn)
                queue += [known[urn].parent, *known[urn].after]
        return passed


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return _plain(value["value"]) if _SIG in value else {key: _plain(child) for key, child in value.items()}
    if isinstance(value, float) and value.is_integer():
        return int(value)  # the wire knows no whole numbers
    return [_plain(child) for child in value] if isinstance(value, list) else value


class _Answers(mocks.Mocks):
    """Answers as AWS would; ``limits`` are what node groups have that were made by an earlier `up`."""

    def __init__(self, limits: Mapping[str, int] | None = None) -> None:
        self.limits = limits or {}

    def call(self, args: mocks.MockCallArgs) -> dict[str, Any]:
        if args.token.endswith("getAuthorizationToken"):
            return {"userName": "AWS", "password": "letters-of-the-registry"}
        if args.token.endswith("getCluster"):
            vpc = {"clusterSecurityGroupId": "sg-adopted", "vpcId": "vpc-0", "subnetIds": []}
            adopted = {"name": "theirs", "endpoint": "https://api", "version": "1.35", "vpcConfig": vpc}
            return adopted | {"certificateAuthorities": [{"data": "QQ=="}], "arn": "arn:theirs"}
        return {}

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        outputs = {"arn": f"arn:aws:made:::{args.name}", "url": f"https://{args.name}", **args.inputs}
        kind = args.typ.rpartition(":")[2]
        if kind == "NodeGroup":
            outputs["resources"] = [{"autoscalingGroups": [{"name": f"asg-{args.name}"}]}]
            outputs["scalingConfig"] = {**args.inputs["scalingConfig"], **self.limits}
            outputs["nodeGroupName"] = f"{args.inputs['nodeGroupNamePrefix']}1"
        if kind == "Cluster":
            outputs |= {"endpoint": "https://api", "certificateAuthority": {"data": "QQ=="}}
            outputs["vpcConfig"] = {**args.inputs["vpcConfig"], "clusterSecurityGroupId": "sg-made"}
        if kind == "Key":
            outputs["keyId"] = f"{args.name}-made"
        if kind == "LaunchTemplate":
            outputs["latestVersion"] = 1
        outputs.setdefault("name", f"{args.name}-made")
        return f"{args.name}-id", outputs


class _Monitor(mocks.MockMonitor):
    def __init__(self, graph: Graph, answers: _Answers) -> None:
        super().__init__(answers)
        self.graph = graph

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  the SDK's name
        if request.type != "pulumi:pulumi:Stack":
            self.graph.told.append(
                Told(
                    kind=request.type,
                    name=request.name,
                    urn=self.make_urn(request.parent, request.type, request.name),
                    parent=request.parent,
                    inputs=_plain(json_format.MessageToDict(request.object)),
                    protect=bool(request.protect),
                    ignored=tuple(request.ignoreChanges),
                    after=frozenset(request.dependencies),
                    provider=request.provider,
                    custom=request.custom,
                )
            )
        return super().RegisterResource(request)


def record(
    place: AwsSettings | None = None,
    pools: Mapping[str, PoolRequest] | None = None,
    about: About | None = None,
    then: Callable[[Platform], Any] = lambda platform: None,
    limits: Mapping[str, int] | None = None,
) -> Graph:
    """Build the place under the recorder; ``then`` may build on it and return outputs to wait for."""
    graph = Graph()
    asyncio.set_event_loop(asyncio.new_event_loop())
    answers = _Answers(limits)
    mocks.set_mocks(answers, project="ebbtide", stack="aws", preview=False, monitor=_Monitor(graph, answers))

    def program() -> Any:
        where = about or About("ebbtide-aws", "dev")
        graph.platform = AwsPlatform(place or settings(), POOLS if pools is None else pools, where).platform
        return then(graph.platform)

    pulumi.runtime.test(program)()
    return graph


def policies(graph: Graph, ending: str) -> list[dict[str, Any]]:
    """The statements of a role's policy."""
    return list(json.loads(graph.one("RolePolicy", ending).inputs["policy"])["Statement"])


def texts(value: Any) -> Iterator[str]:
    """Every text in a nest of mappings and lists."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield key
            yield from texts(child)
    elif isinstance(value, list):
        for child in value:
            yield from texts(child)
    else:
        yield str(value)
