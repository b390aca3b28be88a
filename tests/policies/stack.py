"""A small stack that breaks no rule, as the recorder would write it, for tests to break one thing in."""

from __future__ import annotations

import copy
from datetime import date
from typing import Any

from infra.planner.facts import presets
from infra.planner.judgement import Judgement, judge
from infra.stackfile.findings.waiver import Waiver
from infra.stackfile.load import read_values

COMMIT = "0e9e39f249a16976918f6564b8830bc894c89659"
DIGEST = "@sha256:" + "a" * 64
PREFIX = "urn:pulumi:test::ebbtide::"
KEY = "${" + PREFIX + "aws:ecr/repository:Repository::vllm#arn}"  # another resource has it, as in a stack
RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}

Entry = dict[str, Any]


def urn(kind: str, name: str, parent: str = "") -> str:
    return f"{PREFIX}{parent + '$' if parent else ''}{kind}::{name}"


def entry(kind: str, name: str, inputs: dict[str, Any], parent: str = "", **more: Any) -> Entry:
    """One resource of the recorded graph; ``parent`` is its component's type."""
    return {
        "urn": urn(kind, name, parent), "type": kind, "name": name,
        "parent": f"{PREFIX}{parent}::{name}" if parent else f"{PREFIX}pulumi:pulumi:Stack::ebbtide-test",
        "custom": True, "inputs": inputs,
        "protect": False, "ignoreChanges": [], "dependsOn": [], "provider": "",
        **more,
    }  # fmt: skip


def kube(kind: str, name: str, body: dict[str, Any], namespace: str | None = "ebbtide-models", **more: Any) -> Entry:
    group = kind.partition(":")[0]
    metadata = {"name": name, **({"namespace": namespace} if namespace else {}), **body.pop("metadata", {})}
    version = group.removeprefix("core/")
    inputs = {"apiVersion": version, "kind": kind.partition(":")[2], "metadata": metadata, **body}
    return entry(f"kubernetes:{kind}", f"{name}-{kind.partition(':')[2].lower()}", inputs, **more)


def config(environment: str = "prod") -> dict[str, Any]:
    """The stack file's sections: in a cloud, and for ``local``, which no cloud is, on nodes that are there already."""
    hardware = {"gpu": {"count": 1, "product": "A10G", "memory": "22Gi"}, "nodes": ["gpu-node-1", "gpu-node-2"]}
    local = environment == "local"
    return {
        "environment": environment,
        "platform": {"kind": "local"} if local else {
            "kind": "aws", "region": "us-east-1", "account": "123456789012",
            "network": {"zones": ["us-east-1a", "us-east-1b"]},
        },
        "pools": {"gpu-1xa10": {**(hardware if local else {"machine": "g5.8xlarge"}), "min": 0, "max": 2}},
        "models": {
            "llama": {
                "id": "meta-llama/Llama-3.1-8B-Instruct", "revision": COMMIT, "pool": "gpu-1xa10", "max": 2,
                "coldStart": "10m", "weights": "16Gi", "licenceAccepted": True, "maxTokens": 8192,
            }
        },
        "guard": {"maxGpus": 2, "maxDollarsPerHour": 1_000},
        "gateway": {"groups": {"all": {"models": ["*"]}}, "keys": {"first": {"group": "all"}}},
    }  # fmt: skip


def resources() -> list[Entry]:
    """The graph."""
    labels = {"app": "llama"}
    bucket = entry("aws:s3/bucket:Bucket", "models", {"bucket": "models-1"}, protect=True)
    beside = {"dependsOn": [bucket["urn"]]}
    sse = {"applyServerSideEncryptionByDefault": {"sseAlgorithm": "aws:kms"}}
    return [
        entry(
            "aws:eks/cluster:Cluster", "cluster",
            {
                "name": "cluster", "enabledClusterLogTypes": ["api", "audit"],
                "encryptionConfig": {"provider": {"keyArn": KEY}, "resources": ["secrets"]},
                "vpcConfig": {"endpointPrivateAccess": True, "endpointPublicAccess": False},
            },
            protect=True,
        ),
        bucket,
        entry(
            "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock", "models",
            {"blockPublicAcls": True, "restrictPublicBuckets": True}, **beside,
        ),
        entry(
            "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration", "models",
            {"rules": [sse]}, **beside,
        ),
        entry(
            "aws:ecr/repository:Repository", "vllm",
            {
                "name": "vllm", "imageScanningConfiguration": {"scanOnPush": True},
                "imageTagMutability": "IMMUTABLE_WITH_EXCLUSION",
                "encryptionConfigurations": [{"encryptionType": "KMS"}],
            },
            protect=True,
        ),
        entry(
            "aws:eks/nodeGroup:NodeGroup", "gpu-1xa10",
            {
                "instanceTypes": ["g5.8xlarge"], "capacityType": "ON_DEMAND", "labels": {"workerType": "gpu_1xa10"},
                "nodeGroupNamePrefix": "gpu-1xa10-", "scalingConfig": {"desiredSize": 0, "maxSize": 2, "minSize": 0},
                "taints": [{"effect": "NO_SCHEDULE", "key": "workerType", "value": "gpu_1xa10"}],
            },
            "ebbtide:platforms:AwsGpuPool", protect=True, ignoreChanges=["scalingConfig.desiredSize"],
        ),
        entry(
            "kubernetes:helm.sh/v3:Release", "gpu-operator",
            {"chart": "gpu-operator", "name": "gpu-operator", "namespace": "gpu-operator", "version": "v26.7.0"},
        ),
        entry("docker-build:index:Image", "vllm-cuda", {"tags": ["r.example.com/ebbtide/vllm:0.32.0-cuda"]}),
        kube("core/v1:Namespace", "ebbtide-models", {"metadata": {"labels": dict(RESTRICTED)}}, None),
        kube("core/v1:ResourceQuota", "gpu-guard", {"spec": {"hard": {"requests.nvidia.com/gpu": "2"}}}),
        kube(
            "networking.k8s.io/v1:NetworkPolicy", "deny",
            {"spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}},
        ),
        kube("apps/v1:Deployment", "llama", deployment(labels), ignoreChanges=["spec.replicas"]),
        kube(
            "keda.sh/v1alpha1:ScaledObject", "llama",
            {
                "spec": {
                    "cooldownPeriod": 1200, "minReplicaCount": 0, "maxReplicaCount": 2,
                    "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"},
                }
            },
        ),
        kube("http.keda.sh/v1beta1:InterceptorRoute", "llama", {"spec": {"timeouts": {"readiness": "900s"}}}),
        kube(
            "networking.k8s.io/v1:Ingress", "gateway",
            {
                "metadata": {
                    "annotations": {
                        "alb.ingress.kubernetes.io/scheme": "internal",
                        "alb.ingress.kubernetes.io/certificate-arn": "arn:certificate",
                        "alb.ingress.kubernetes.io/inbound-cidrs": "10.0.0.0/8",
                        "alb.ingress.kubernetes.io/load-balancer-attributes": "idle_timeout.timeout_seconds=4000",
                    }
                },
                "spec": {"ingressClassName": "alb"},
            },
        ),
    ]  # fmt: skip


def deployment(labels: dict[str, str]) -> dict[str, Any]:
    probe = {"httpGet": {"path": "/health", "port": "http"}}
    container = {
        "name": "vllm", "image": f"r.example.com/ebbtide/vllm{DIGEST}",
        "args": ["--model", "s3://models-1/llama", "--load-format", "runai_streamer", "--shutdown-timeout", "120"],
        "env": [{"name": "HOME", "value": "/cache"}],
        "startupProbe": probe, "readinessProbe": probe, "livenessProbe": probe,
        "lifecycle": {"preStop": {"sleep": {"seconds": 5}}},
        "resources": {"limits": {"nvidia.com/gpu": "1"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
    }  # fmt: skip
    spec = {
        "containers": [container], "nodeSelector": {"workerType": "gpu_1xa10"}, "terminationGracePeriodSeconds": 150,
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
        "tolerations": [{"key": "workerType", "operator": "Equal", "value": "gpu_1xa10", "effect": "NoSchedule"}],
    }  # fmt: skip
    return {
        "spec": {
            "replicas": 0,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": spec},
        }
    }


class Stack:
    """The good stack, with ways to its parts."""

    def __init__(self, environment: str = "prod") -> None:
        self.config = config(environment)
        self.resources = resources()

    def judged(self, waivers: tuple[Waiver, ...] = (), today: date | None = None) -> Judgement:
        """The stack file as every command judges it."""
        return judge(read_values(self.config, "stacks/Pulumi.test.yaml", waivers, today), presets.find)

    def find(self, kind: str) -> Entry:
        """The first resource whose type ends so."""
        return next(item for item in self.resources if item["type"].endswith(kind))

    def inputs(self, kind: str) -> dict[str, Any]:
        inputs: dict[str, Any] = self.find(kind)["inputs"]
        return inputs

    @property
    def pod(self) -> dict[str, Any]:
        pod: dict[str, Any] = self.inputs("Deployment")["spec"]["template"]["spec"]
        return pod

    @property
    def container(self) -> dict[str, Any]:
        container: dict[str, Any] = self.pod["containers"][0]
        return container

    @property
    def model(self) -> dict[str, Any]:
        model: dict[str, Any] = self.config["models"]["llama"]
        return model

    @property
    def pool(self) -> dict[str, Any]:
        pool: dict[str, Any] = self.config["pools"]["gpu-1xa10"]
        return pool

    def copy(self) -> Stack:
        copied = Stack()
        copied.config, copied.resources = copy.deepcopy(self.config), copy.deepcopy(self.resources)
        return copied
