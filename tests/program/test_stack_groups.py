"""A stack with a model on two machines, as a graph of resources. Its objects are held against LeaderWorkerSet's own
schema; no group of pods has been run."""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.policies.model import graph_of
from infra.policies.pods import pods
from tests.program.conftest import tool
from tests.program.dropped_values import dropped
from tests.program.stack_kit import Graph, Recorded, run, sections

LARGE = {
    "id": "meta-llama/Llama-3.1-405B-Instruct",
    "revision": "0" * 40,
    "licenceAccepted": True,
    "pool": "gpu-8xh100",
    "gpus": 8,
    "nodes": 2,
    "max": 1,
    "idleTtl": "30m",
    "coldStart": "25m",
    "maxTokens": 8192,
}
POOL = {
    "gpu": {"count": 8, "product": "H100-80GB", "memory": "80Gi"},
    "max": 2,
    "nodes": ["dgx-1", "dgx-2"],
    "pricePerHour": 30,
}
LWS = "sigs.k8s.io/lws@v0.8.0"


def config(install: str = "helm", **model: Any) -> dict[str, Any]:
    config = sections("onprem")
    config["ebbtide:pools"] = {**config["ebbtide:pools"], "gpu-8xh100": POOL}
    config["ebbtide:models"] = {**config["ebbtide:models"], "large": {**LARGE, **model}}
    config["ebbtide:guard"] = {"maxGpus": 17, "whenFull": "wait"}
    config["ebbtide:gateway"]["groups"]["everyone"] = {"models": ["*"]}
    config["ebbtide:leaderWorkerSet"] = {"install": install}
    return config


def recorded(config: dict[str, Any]) -> Graph:
    with tempfile.TemporaryDirectory() as folder:
        return run("onprem", config, Path(folder))


@pytest.fixture(scope="module")
def graph() -> Graph:
    return recorded(config())


@pytest.fixture(scope="module")
def group(graph: Graph) -> Recorded:
    return graph.one("LeaderWorkerSet", "large")


def releases(graph: Graph) -> set[str]:
    return {str(release.inputs["name"]) for release in graph.of("Release")}


def test_a_model_on_two_machines_is_a_group_and_one_on_a_single_machine_a_deployment(graph: Graph) -> None:
    assert [resource.object_name for resource in graph.of("LeaderWorkerSet")] == ["large"]
    assert [model.object_name for model in graph.models()] == ["llama-8b"]


def test_the_group_is_what_the_api_of_this_version_is_called(group: Recorded) -> None:
    assert (group.inputs["apiVersion"], group.inputs["kind"]) == ("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet")
    assert group.inputs["spec"]["leaderWorkerTemplate"]["size"] == 2
    assert group.inputs["metadata"]["namespace"] == "ebbtide-models"


def test_replicas_of_a_group_are_left_to_keda_and_no_update_waits_for_it(group: Recorded) -> None:
    assert group.ignored == ("spec.replicas",)
    assert group.inputs["spec"]["replicas"] == 0
    assert group.inputs["metadata"]["annotations"]["pulumi.com/skipAwait"] == "true"


def test_keda_scales_the_group_after_it_is_there(graph: Graph, group: Recorded) -> None:
    scaled = graph.one("ScaledObject", "large")
    target = scaled.inputs["spec"]["scaleTargetRef"]
    assert target == {"apiVersion": "leaderworkerset.x-k8s.io/v1", "kind": "LeaderWorkerSet", "name": "large"}
    assert group.urn in graph.before(scaled)


def test_the_controller_is_installed_before_the_group_and_goes_after_it(graph: Graph, group: Recorded) -> None:
    (release,) = [resource for resource in graph.of("Release") if resource.inputs["name"] == "lws"]
    assert release.inputs["chart"] == "oci://registry.k8s.io/lws/charts/lws"
    assert (release.inputs["version"], release.inputs["namespace"]) == ("0.8.0", "lws-system")
    # the chart's own 1 CPU and 1 GiB would not fit on one small system node beside everything else
    assert release.inputs["values"]["resources"]["requests"] == {"cpu": "100m", "memory": "256Mi"}
    assert release.inputs["values"]["podSecurityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    namespace = graph.one("Namespace", "lws-system")
    assert namespace.inputs["metadata"]["labels"] == {"pod-security.kubernetes.io/enforce": "restricted"}
    assert {release.urn, namespace.urn} <= graph.before(group)
    assert namespace.urn in graph.before(release)


def test_no_object_carries_an_empty_value_that_the_api_server_leaves_out(graph: Graph) -> None:
    ours = [r for r in graph.kubernetes() if r.custom and "helm.sh" not in r.type and r.parent.count("manifests") == 0]
    assert {"LeaderWorkerSet", "ScaledObject"} <= {r.kind for r in ours}
    assert dropped(r.inputs for r in ours) == []


def test_a_controller_that_is_there_is_not_installed_again() -> None:
    existing = recorded(config("existing"))
    assert "lws" not in releases(existing)
    assert existing.one("LeaderWorkerSet", "large")


def test_without_a_group_nothing_of_it_is_there() -> None:
    single = recorded(config(nodes=1))
    assert "lws" not in releases(single)
    assert not single.of("LeaderWorkerSet")
    assert "leaderworkerset" not in json.dumps([r.inputs for r in single.recorded])


def test_the_group_waits_for_its_policy_and_the_quota_counts_all_its_machines(graph: Graph, group: Recorded) -> None:
    quota, own = graph.one("ResourceQuota", "gpu-guard"), graph.one("NetworkPolicy", "large")
    assert {quota.urn, own.urn} <= graph.before(group)
    assert quota.inputs["spec"]["hard"] == {"requests.nvidia.com/gpu": "17"}
    templates = group.inputs["spec"]["leaderWorkerTemplate"]
    for which in ("leaderTemplate", "workerTemplate"):
        (container,) = templates[which]["spec"]["containers"]
        assert container["resources"]["requests"]["nvidia.com/gpu"] == "8"


def test_instances_are_bounded_where_the_stack_bounds_them(graph: Graph) -> None:
    assert not graph.of("PriorityClass")
    limited = config()
    limited["ebbtide:guard"] = {**limited["ebbtide:guard"], "maxInstances": 3}
    bounded = recorded(limited)
    quota, priority = bounded.one("ResourceQuota", "instance-guard"), bounded.one("PriorityClass")
    assert quota.inputs["spec"]["hard"] == {"pods": "3"}
    (scope,) = quota.inputs["spec"]["scopeSelector"]["matchExpressions"]
    assert scope["values"] == [priority.object_name]
    for model in bounded.models():
        assert {quota.urn, priority.urn} <= bounded.before(model)


def test_the_gateway_counts_a_whole_replica_and_may_read_groups(graph: Graph) -> None:
    (document,) = [
        yaml.safe_load(resource.inputs["data"]["gateway.yaml"])
        for resource in graph.of("ConfigMap")
        if "gateway.yaml" in resource.inputs.get("data", {})
    ]
    assert {model["name"]: model["gpus"] for model in document["models"]} == {"llama-8b": 1, "large": 16}
    assert document["cluster"]["groups"] is True
    role = graph.one("Role", "gateway-reader")
    assert {group for rule in role.inputs["rules"] for group in rule["apiGroups"]} == {
        "apps",
        "discovery.k8s.io",
        "keda.sh",
        "leaderworkerset.x-k8s.io",
    }


def test_an_engine_that_is_wedged_is_seen_at_the_leader_alone(group: Recorded) -> None:
    templates = group.inputs["spec"]["leaderWorkerTemplate"]
    (leader,), (worker,) = (templates[which]["spec"]["containers"] for which in ("leaderTemplate", "workerTemplate"))
    assert "/usr/local/bin/canary.py" in leader["livenessProbe"]["exec"]["command"]
    assert not [key for key in worker if key.endswith("Probe")]


def test_hours_kept_warm_are_told_to_keda_for_a_group_as_for_any_model() -> None:
    office = {"days": "weekdays", "from": "08:30", "to": "18:00", "timezone": "Europe/Berlin"}
    spec = recorded(config(schedules={"office": office})).one("ScaledObject", "large").inputs["spec"]
    assert spec["scaleTargetRef"]["kind"] == "LeaderWorkerSet"
    assert {trigger["type"] for trigger in spec["triggers"]} == {"external-push", "metrics-api", "cron"}


def test_the_keeper_is_told_of_a_group_and_a_wakes_price_is_of_all_its_machines(graph: Graph) -> None:
    models = {
        name: yaml.safe_load(resource.inputs["data"][name])["models"]
        for name in ("keeper.yaml", "gateway.yaml")
        for resource in graph.of("ConfigMap")
        if name in resource.inputs.get("data", {})
    }
    assert {model["name"]: model.get("machines") for model in models["keeper.yaml"]} == {"llama-8b": None, "large": 2}
    assert {model["name"]: model.get("usdPerHour") for model in models["gateway.yaml"]} == {
        "llama-8b": None,
        "large": 60,
    }


def test_the_rules_see_both_pods_of_the_group(graph: Graph, group: Recorded) -> None:
    entries = [{"urn": group.urn, "type": group.type, "name": group.name, "inputs": group.inputs}]
    assert [pod.gpus for pod in pods(graph_of(entries, None))] == [{"nvidia.com/gpu": 8}] * 2


def _wrong(value: Any, schema: Mapping[str, Any], at: str) -> Iterator[str]:
    """What a structural schema of Kubernetes does not take: unknown fields, other types, missing and other values."""
    types = {"object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float)}
    # the wire has one kind of number
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if schema.get("x-kubernetes-int-or-string"):
        if not isinstance(number, (int, str)):
            yield f"{at}: {type(number).__name__} is no integer or string"
        return
    if not isinstance(number, types[schema["type"]]):
        yield f"{at}: {type(number).__name__} is no {schema['type']}"
        return
    if "enum" in schema and number not in schema["enum"]:
        yield f"{at}: {number} is none of {schema['enum']}"
    if isinstance(number, dict):
        properties, more = schema.get("properties", {}), schema.get("additionalProperties")
        yield from (f"{at}.{key}: is missing" for key in schema.get("required", ()) if key not in number)
        for key, child in number.items():
            below = properties.get(key, more)
            if below is None:
                if not schema.get("x-kubernetes-preserve-unknown-fields"):
                    yield f"{at}.{key}: is not known"
            else:
                yield from _wrong(child, below, f"{at}.{key}")
    elif isinstance(number, list):
        for index, child in enumerate(number):
            yield from _wrong(child, schema["items"], f"{at}[{index}]")


@pytest.fixture(scope="module")
def resource_definition() -> dict[str, Any]:
    """LeaderWorkerSet's own, out of its Go module, whose sum Go checks."""
    done = subprocess.run([tool("go"), "mod", "download", "-json", LWS], capture_output=True, text=True, check=True)
    bases = Path(json.loads(done.stdout)["Dir"]) / "config" / "crd" / "bases"
    (file,) = bases.glob("*leaderworkersets.yaml")
    return dict(yaml.load(file.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def schema_of(definition: Mapping[str, Any]) -> dict[str, Any]:
    (version,) = [each for each in definition["spec"]["versions"] if each["name"] == "v1"]
    return dict(version["schema"]["openAPIV3Schema"]["properties"]["spec"])


@pytest.mark.engine
def test_leader_worker_sets_own_schema_takes_the_group(resource_definition: dict[str, Any], group: Recorded) -> None:
    assert list(_wrong(group.inputs["spec"], schema_of(resource_definition), "spec")) == []


@pytest.mark.engine
def test_the_reading_of_the_schema_refuses_what_an_api_server_would(resource_definition: dict[str, Any]) -> None:
    schema = schema_of(resource_definition)
    spec = {
        "replicas": "two",
        "leaderWorkerTemplate": {
            "restartPolicy": "Always",
            "workerTemplate": {"spec": {"containers": [{"image": "x", "args": "one"}], "nodeselector": {}}},
        },
    }
    assert sorted(_wrong(spec, schema, "spec")) == [
        "spec.leaderWorkerTemplate.restartPolicy: Always is none of ['Default', 'RecreateGroupOnPodRestart', 'None']",
        "spec.leaderWorkerTemplate.workerTemplate.spec.containers[0].args: str is no array",
        "spec.leaderWorkerTemplate.workerTemplate.spec.containers[0].name: is missing",
        "spec.leaderWorkerTemplate.workerTemplate.spec.nodeselector: is not known",
        "spec.replicas: str is no integer",
    ]


@pytest.mark.engine
def test_what_keda_scales_has_a_scale_of_its_own(resource_definition: dict[str, Any]) -> None:
    (version,) = [each for each in resource_definition["spec"]["versions"] if each["name"] == "v1"]
    assert version["subresources"]["scale"]["specReplicasPath"] == ".spec.replicas"
    assert (version["served"], version["storage"]) == (True, True)
