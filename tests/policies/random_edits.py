"""Seeded single edits of a true graph, each of a dangerous sort: what a hostile program could ask for besides."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from random import Random
from typing import Any

from infra.policies.pods import WORKLOADS
from tests.policies.shapes_kit import Entry, beside, kube

Edit = Callable[[list[Entry], Random], str]
SECRET = "[secret]"
_POWERS: tuple[tuple[str, Any], ...] = (
    ("hostNetwork", True), ("hostPID", True), ("hostIPC", True), ("shareProcessNamespace", True),
    ("hostAliases", [{"ip": "10.0.0.1", "hostnames": ["a"]}]), ("serviceAccountName", "default"),
    ("automountServiceAccountToken", "yes"), ("priorityClassName", "system-node-critical"),
    ("runtimeClassName", "none"), ("nodeName", "node-1"), ("volumes", [{"name": "a", "hostPath": {"path": "/"}}]),
    ("volumes", [{"name": "a", "nfs": {"server": "x", "path": "/"}}]), ("securityContext", {}),
    ("securityContext", {"runAsNonRoot": True, "runAsUser": 0, "seccompProfile": {"type": "RuntimeDefault"}}),
    ("securityContext", {"runAsNonRoot": True, "seccompProfile": {"type": "Unconfined"}}), ("hostUsers", True),
)  # fmt: skip
_CONTAINER_POWERS: tuple[tuple[str, Any], ...] = (
    ("privileged", True), ("allowPrivilegeEscalation", True), ("procMount", "Unmasked"), ("runAsUser", 0),
    ("readOnlyRootFilesystem", False), ("capabilities", {"drop": ["ALL"], "add": ["NET_ADMIN"]}),
    ("capabilities", {"drop": ["NET_RAW"]}), ("seLinuxOptions", {"type": "spc_t"}), ("runAsNonRoot", False),
)  # fmt: skip
_OPENINGS: tuple[dict[str, Any], ...] = (
    {"spec": {"type": "LoadBalancer"}}, {"spec": {"type": "NodePort"}}, {"spec": {"externalIPs": ["203.0.113.7"]}},
    {"spec": {"type": "ExternalName", "externalName": "x.example.net"}},
    {"spec": {"type": "LoadBalancer", "loadBalancerSourceRanges": ["0.0.0.0/1"]}},
)  # fmt: skip
_RULES: tuple[dict[str, Any], ...] = (
    {}, {"to": []}, {"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}, {"to": [{"ipBlock": {"cidr": "::/0"}}]},
    {"ports": [{"port": 1, "endPort": 65535}]}, {"to": [{"namespaceSelector": {}}]}, {"to": [{}]},
    {"to": [{"ipBlock": {"cidr": "169.254.169.254/31"}}]},
    {"to": [{"ipBlock": {"cidr": f"{n}.0.0.0/4"}} for n in (16, 32)]},
)  # fmt: skip
_ROLES: tuple[tuple[list[str], list[str]], ...] = (
    (["*"], ["pods"]), (["get"], ["*"]), (["get"], ["secrets"]), (["create"], ["pods"]), (["bind"], ["roles"]),
    (["impersonate"], ["users"]), (["create"], ["serviceaccounts/token"]), (["create"], ["pods/exec"]),
)  # fmt: skip
_COSTS = (
    "aws:ec2/instance:Instance", "aws:autoscaling/group:Group", "aws:ec2/spotInstanceRequest:SpotInstanceRequest",
    "aws:sagemaker/endpoint:Endpoint", "aws:ec2/capacityReservation:CapacityReservation",
    "gcp:compute/instance:Instance",
    "gcp:compute/instanceGroupManager:InstanceGroupManager", "azure-native:compute:VirtualMachine",
    "azure-native:compute:VirtualMachineScaleSet", "kubernetes:karpenter.sh/v1beta1:NodePool",
)  # fmt: skip
_RIGHTS = (
    "aws:iam/userPolicy:UserPolicy", "aws:iam/user:User", "aws:iam/accessKey:AccessKey",
    "gcp:projects/iAMBinding:IAMBinding",
    "gcp:serviceaccount/key:Key", "azure-native:authorization:RoleDefinition", "aws:kms/grant:Grant",
    "kubernetes:rbac.authorization.k8s.io/v1:ClusterRoleBinding",
    "kubernetes:certificates.k8s.io/v1:CertificateSigningRequest",
)  # fmt: skip


def _workloads(entries: list[Entry]) -> list[Entry]:
    return [e for e in entries if e["type"].rpartition(":")[2] in WORKLOADS and "template" in e["inputs"]["spec"]]


def _pod(entries: list[Entry], random: Random) -> dict[str, Any]:
    spec: dict[str, Any] = random.choice(_workloads(entries))["inputs"]["spec"]["template"]["spec"]
    return spec


def power(entries: list[Entry], random: Random) -> str:
    pod = _pod(entries, random)
    if random.random() < 0.5:
        key, value = random.choice(_POWERS)
        pod[key] = copy.deepcopy(value)
    else:
        key, value = random.choice(_CONTAINER_POWERS)
        random.choice(pod["containers"]).setdefault("securityContext", {})[key] = copy.deepcopy(value)
    return f"{key}: {value}"


def opening(entries: list[Entry], random: Random) -> str:
    policies = [
        e
        for e in entries
        if e["type"].endswith(":NetworkPolicy") and e["inputs"]["metadata"]["namespace"] == "ebbtide-models"
    ]
    if random.random() < 0.5:
        body = copy.deepcopy(random.choice(_OPENINGS))
        kube(entries, "core/v1:Service", body, "ebbtide")
        return f"a Service: {body}"
    rule, spec = copy.deepcopy(random.choice(_RULES)), random.choice(policies)["inputs"]["spec"]
    if random.random() < 0.5:
        rule = {"from" if key == "to" else key: value for key, value in rule.items()}
        spec.setdefault("ingress", []).append(rule)
    else:
        spec.setdefault("egress", []).append(rule)
    return f"a rule: {rule}"


def right(entries: list[Entry], random: Random) -> str:
    if random.random() < 0.3:
        kind = random.choice(_RIGHTS)
        beside(entries, kind, {"name": "x"})
        return kind
    verbs, resources = random.choice(_ROLES)
    kind = random.choice(["Role", "ClusterRole"])
    rule = {"apiGroups": [""], "resources": resources, "verbs": verbs}
    kube(entries, f"rbac.authorization.k8s.io/v1:{kind}", {"rules": [rule]})
    return f"{kind}: {verbs} {resources}"


def cost(entries: list[Entry], random: Random) -> str:
    kind = random.choice(_COSTS)
    beside(entries, kind, {"instanceType": "p5.48xlarge", "desiredCapacity": random.randint(1, 100)})
    return kind


def _fields(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*at, key)
        yield from _fields(item, (*at, key))


def _resources(entries: list[Entry]) -> list[Entry]:
    # what a Secret holds is hidden, and a provider's kubeconfig
    left_out = ("kubernetes:core/v1:Secret", "pulumi:providers:")
    return [e for e in entries if e["custom"] and e["inputs"] and not e["type"].startswith(left_out)]


def hidden(entries: list[Entry], random: Random) -> str:
    entry = random.choice(_resources(entries))
    here: Any = entry["inputs"]
    way = random.choice([at for at in _fields(here) if "password" not in at])
    for step in way[:-1]:
        here = here[step]
    here[way[-1]] = SECRET
    return f"{entry['type']} {'.'.join(map(str, way))} hidden"


def renamed(entries: list[Entry], random: Random) -> str:
    entry = random.choice([e for e in _resources(entries) if e["type"].startswith("kubernetes:")])
    kind = entry["type"] + random.choice(["Patch", "List", "V2"])
    entry["urn"], entry["type"] = entry["urn"].replace(entry["type"], kind), kind
    return kind


def wrapped(entries: list[Entry], random: Random) -> str:
    entry = random.choice(_resources(entries))
    kind = random.choice(
        ["kubernetes:yaml/v2:ConfigGroup", "kubernetes:helm.sh/v4:Chart", "ebbtide:gateway:Gateway", "x:y:Z"]
    )
    entry.update(type=kind, custom=False, options=["remote"])
    return f"{kind} around {entry['name']}"


def unknown_field(entries: list[Entry], random: Random) -> str:
    entry = random.choice(_resources(entries))
    here = entry["inputs"]
    inner = [
        at
        for at in _fields(here)
        if isinstance(_at(here, at), dict) and at[-1] not in _FREE and "annotations" not in at
    ]
    place = _at(here, random.choice([(), *inner]))
    place["extraPower"] = random.choice([True, "x", {"a": 1}])
    return f"{entry['type']} {entry['name']} extraPower"


_FREE = frozenset(
    [
        "labels",
        "matchLabels",
        "nodeSelector",
        "nodeLabels",
        "resourceLabels",
        "limits",
        "requests",
        "hard",
        "tags",
        "data",
        "stringData",
        "buildArgs",
        "parameters",
    ]
)


def _at(value: Any, way: tuple[Any, ...]) -> Any:
    for step in way:
        value = value[step]
    return value


EDITS: dict[str, Edit] = {
    "power": power, "opening": opening, "right": right, "cost": cost, "hidden": hidden, "renamed": renamed,
    "wrapped": wrapped, "unknown field": unknown_field,
}  # fmt: skip


def edited(entries: list[Entry], seed: int) -> tuple[str, str]:
    """Edit the graph in one place; return the sort and what was done."""
    random = Random(seed)
    sort = list(EDITS)[seed % len(EDITS)]
    return sort, EDITS[sort](entries, random)
