"""The wiring as the engine is told: types, parents, dependencies and options of every resource."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from pulumi.runtime import mocks, rpc

from components.idle_scaling.engine import IdleScalingEngine
from components.idle_scaling.policy import IdlePolicy, IdleScalingPolicy
from components.idle_scaling.settings import EngineSettings, one_image
from components.model_service.namespace import ModelNamespace
from components.model_service.network import Peer
from components.model_service.service import ModelService
from components.model_service.settings import ModelSettings
from components.model_service.workload import Placement
from components.platforms.contract import Pool, Taint, Weights

IMAGE = "registry.example/vllm@sha256:" + "b" * 64


class Recorded:
    """One registration as sent over the wire."""

    def __init__(self, urn: str, request: Any) -> None:
        self.urn, self.type, self.name = urn, request.type, request.name
        self.parent = request.parent
        self.dependencies = set(request.dependencies)
        self.ignore_changes = list(request.ignoreChanges)
        self.inputs: dict[str, Any] = rpc.deserialize_properties(request.object)


class Recorder(mocks.MockMonitor):
    def __init__(self) -> None:
        super().__init__(Echo())
        self.recorded: list[Recorded] = []

    def RegisterResource(self, request: Any) -> Any:  # noqa: N802  the SDK's name
        if request.type != "pulumi:pulumi:Stack":
            urn = self.make_urn(request.parent, request.type, request.name)
            self.recorded.append(Recorded(urn, request))
        return super().RegisterResource(request)


class Echo(mocks.Mocks):
    def call(self, args: mocks.MockCallArgs) -> tuple[dict[str, Any], None]:
        return {}, None

    def new_resource(self, args: mocks.MockResourceArgs) -> tuple[str, dict[str, Any]]:
        return f"{args.name}-id", args.inputs


def record(program: Callable[[], None]) -> list[Recorded]:
    recorder = Recorder()
    mocks.set_mocks(Echo(), preview=False, monitor=recorder)
    pulumi.runtime.test(program)()
    return recorder.recorded


def one(recorded: list[Recorded], kind: str) -> Recorded:
    (resource,) = [r for r in recorded if r.type.endswith(f":{kind}")]
    return resource


def serving() -> None:
    """A model with its namespace, engine and policy, wired as a program wires them."""
    engine = IdleScalingEngine("engine", EngineSettings())
    namespace = ModelNamespace("models", "ebbtide-models", 2, None, ["nvidia.com/gpu"], {"role": "arn"}, "pull")
    model = ModelSettings(name="m", model_id="a/b", revision="1" * 40, cold_start_seconds=50, hold_seconds=300)
    pool = Pool("gpu", {"workerType": "gpu"}, (Taint("workerType", "gpu"),), 1)
    place = Placement(namespace="ebbtide-models", pool=pool, image=IMAGE, weights=Weights("/models/m"))
    service = ModelService(
        "m",
        model,
        place,
        [Peer("keda", engine.settings.interceptor_pod_labels())],
        opts=pulumi.ResourceOptions(depends_on=[namespace]),
    )
    policy = IdlePolicy(
        name="m",
        namespace="ebbtide-models",
        min_replicas=0,
        max_replicas=1,
        idle_ttl_seconds=60,
        cold_start_seconds=50,
        hold_seconds=300,
        concurrency_target=16,
        load_url="http://keeper",
    )
    IdleScalingPolicy("m-idle", policy, engine.scaler_address, [engine, service.workload, service.service])


@pytest.fixture(scope="module")
def resources() -> list[Recorded]:
    return record(serving)


def test_replicas_are_left_to_keda_in_the_spelling_that_works(resources: list[Recorded]) -> None:
    assert one(resources, "Deployment").ignore_changes == ["spec.replicas"]


def test_the_deployment_arrives_in_the_apis_own_spelling(resources: list[Recorded]) -> None:
    pod = one(resources, "Deployment").inputs["spec"]["template"]["spec"]
    assert pod["enableServiceLinks"] is False
    assert pod["terminationGracePeriodSeconds"] == 150
    assert pod["containers"][0]["startupProbe"]["httpGet"] == {"path": "/health", "port": "http"}
    assert pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"] == 5
    assert not _snake_case_keys(one(resources, "Deployment").inputs)


def _snake_case_keys(value: Any) -> list[str]:
    if isinstance(value, dict):
        nested = [key for child in value.values() for key in _snake_case_keys(child)]
        return [key for key in value if "_" in key] + nested
    if isinstance(value, list):
        return [key for child in value for key in _snake_case_keys(child)]
    return []


def test_every_child_hangs_under_its_component(resources: list[Recorded]) -> None:
    for kind, parent in {
        "Deployment": "ModelService::m",
        "Service": "ModelService::m",
        "ResourceQuota": "ModelNamespace::models",
        "ServiceAccount": "ModelNamespace::models",
        "InterceptorRoute": "IdleScalingPolicy::m-idle",
        "ScaledObject": "IdleScalingPolicy::m-idle",
    }.items():
        assert one(resources, kind).parent.endswith(parent), kind


def test_the_scaled_object_comes_after_target_route_and_engine_and_goes_before_them(
    resources: list[Recorded],
) -> None:
    after = one(resources, "ScaledObject").dependencies
    for kind in ("Deployment", "InterceptorRoute"):
        assert one(resources, kind).urn in after
    releases = [r.urn for r in resources if r.type == "kubernetes:helm.sh/v3:Release"]
    assert len(releases) == 2
    assert set(releases) <= after


def test_no_pod_runs_before_its_network_policy(resources: list[Recorded]) -> None:
    (policy,) = [r for r in resources if r.type.endswith(":NetworkPolicy") and r.name == "m-network"]
    assert policy.urn in one(resources, "Deployment").dependencies


def test_models_run_under_an_account_without_a_token(resources: list[Recorded]) -> None:
    account = one(resources, "ServiceAccount").inputs
    assert account["automountServiceAccountToken"] is False
    assert account["metadata"]["annotations"] == {"role": "arn"}
    assert account["imagePullSecrets"] == [{"name": "pull"}]


def test_the_add_on_is_released_after_keda_at_its_pinned_version(resources: list[Recorded]) -> None:
    keda, add_on = (next(r for r in resources if r.name == name) for name in ("engine-keda", "engine-http-add-on"))
    assert (keda.inputs["chart"], keda.inputs["version"]) == ("keda", "2.20.2")
    assert (add_on.inputs["chart"], add_on.inputs["version"]) == ("keda-add-ons-http", "0.15.0")
    assert keda.urn in add_on.dependencies


def test_an_existing_engine_creates_nothing() -> None:
    recorded = record(lambda: IdleScalingEngine("engine", EngineSettings(install="existing")) and None)
    assert [r.type for r in recorded] == ["ebbtide:idle_scaling:IdleScalingEngine"]


def test_every_rendered_document_becomes_a_resource_of_its_own_type(tmp_path: Path) -> None:
    names = (
        "keda-operator",
        "keda-metrics-apiserver",
        "keda-admission",
        "keda-add-ons-http-interceptor",
        "keda-add-ons-http-scaler",
        "keda-add-ons-http-operator",
    )
    container = {"name": "c", "image": "x", "env": [], "resources": {}}
    deployments = [
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": name, "namespace": "keda"},
            "spec": {"template": {"spec": {"containers": [container]}}},
        }
        for name in names
    ]
    api = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService", "metadata": {"name": "v1"}, "spec": {}}
    space = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "keda", "labels": {}}}
    (tmp_path / "keda.yaml").write_text(yaml.safe_dump_all([api, space, *deployments[:3]]))
    (tmp_path / "keda-http-add-on.yaml").write_text(yaml.safe_dump_all(deployments[3:]))
    chosen = EngineSettings(install="manifests", manifests=tmp_path, programs=one_image(IMAGE))

    recorded = record(lambda: IdleScalingEngine("engine", chosen) and None)

    created = one(recorded, "Namespace")
    running = [r for r in recorded if r.type == "kubernetes:apps/v1:Deployment"]
    registered = one(recorded, "APIService")
    assert created.type == "kubernetes:core/v1:Namespace"
    assert len(running) == 6
    assert all(created.urn in r.dependencies for r in running)
    assert {r.urn for r in running} <= registered.dependencies
    assert all(r.parent.endswith("ManifestSet::engine-manifests") for r in running)
    assert running[0].inputs["apiVersion"] == "apps/v1"
