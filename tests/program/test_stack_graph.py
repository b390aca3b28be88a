"""The project's own stack files as a graph of resources: who waits for whom, and who may write what."""

from __future__ import annotations

import re
from typing import Any

import pytest
from syrupy.assertion import SnapshotAssertion

from tests.program.stack_kit import PROJECT, Graph, graph_of, sections


@pytest.fixture(params=["local", "onprem"])
def stack(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def graph(stack: str) -> Graph:
    return graph_of(stack)


def at(inputs: dict[str, Any], path: str) -> Any:
    """What a property path names; KeyError where it names nothing."""
    part_found: Any = inputs
    for part in path.split("."):
        part_found = part_found[part]
    return part_found


def test_the_graph_is_this_and_nothing_else(graph: Graph, snapshot: SnapshotAssertion) -> None:
    assert sorted(f"{r.type} {r.name}" for r in graph.recorded) == snapshot


def test_no_two_resources_share_a_urn(graph: Graph) -> None:
    urns = [r.urn for r in graph.recorded]
    assert sorted(set(urns)) == sorted(urns)


def test_every_kubernetes_resource_goes_through_the_platforms_provider(graph: Graph, stack: str) -> None:
    (provider,) = [r for r in graph.recorded if r.type == "pulumi:providers:kubernetes"]
    platform = {"local": "LocalPlatform::local", "onprem": "ExistingPlatform::existing"}[stack]
    assert provider.parent.endswith(platform)
    assert len(graph.kubernetes()) > 15
    strays = [r.urn for r in graph.kubernetes() if r.provider != f"{provider.urn}::cluster-id"]
    assert not strays


def test_the_provider_names_its_context_so_that_the_users_current_one_is_never_touched(
    graph: Graph, stack: str
) -> None:
    (provider,) = [r for r in graph.recorded if r.type == "pulumi:providers:kubernetes"]
    context = {"local": "ebbtide-local", "onprem": "gpu-cluster"}[stack]
    assert provider.inputs["context"] == context
    # a refreshed kubeconfig must replace nothing
    assert provider.inputs["clusterIdentifier"] == context


def test_every_component_names_the_room_it_lives_in(graph: Graph) -> None:
    components = [r for r in graph.recorded if not r.custom]
    assert components
    for component in components:
        match = re.fullmatch(r"ebbtide:([a-z_]+):[A-Z][A-Za-z]+", component.type)
        assert match, component.type
        assert (PROJECT / "components" / match.group(1)).is_dir(), component.type


def test_every_resource_but_a_component_hangs_under_a_component_or_is_the_model_stores(graph: Graph) -> None:
    components = {r.urn for r in graph.recorded if not r.custom}
    loose = {r.kind for r in graph.recorded if r.custom and r.parent not in components}
    assert loose <= {"PersistentVolume", "PersistentVolumeClaim"}


def test_replicas_of_a_model_are_left_to_keda_in_the_apis_own_spelling(graph: Graph) -> None:
    assert graph.models()
    for model in graph.models():
        assert model.ignored == ("spec.replicas",), model.name
        assert at(model.inputs, "spec.replicas") == 0, "an update must start no GPU pod"


def test_every_ignored_path_names_something_that_is_sent(graph: Graph) -> None:
    for resource in graph.recorded:
        for path in resource.ignored:
            at(resource.inputs, path)


def test_an_update_does_not_wait_for_the_pods_of_a_sleeping_model(graph: Graph) -> None:
    for model in graph.models():
        assert model.inputs["metadata"]["annotations"]["pulumi.com/skipAwait"] == "true"
        service = graph.one("Service", model.object_name)
        assert service.inputs["metadata"]["annotations"]["pulumi.com/skipAwait"] == "true"


def test_each_model_has_one_scaled_object_and_nothing_else_is_scaled(graph: Graph, stack: str) -> None:
    models = set(sections(stack)["ebbtide:models"])
    assert {m.object_name for m in graph.models()} == models
    scaled = [r.inputs for r in graph.of("ScaledObject")]
    assert len(scaled) == len(models)
    assert {s["spec"]["scaleTargetRef"]["name"] for s in scaled} == models
    assert {s["metadata"]["namespace"] for s in scaled} == {"ebbtide-models"}
    assert not graph.of("HorizontalPodAutoscaler"), "two writers would fight over replicas"


def test_a_scaled_object_comes_after_its_target_its_route_and_the_engine_and_goes_before_them(graph: Graph) -> None:
    engine = [
        r.urn
        for r in graph.kubernetes()
        if r.kind == "Release" or (r.kind == "Deployment" and r.inputs["metadata"]["namespace"] == "keda")
    ]
    assert len(engine) in (2, 6)
    for scaled in graph.of("ScaledObject"):
        name = scaled.object_name
        before = graph.before(scaled)
        assert graph.one("Deployment", name).urn in before
        assert graph.one("Service", name).urn in before
        assert graph.one("InterceptorRoute", name).urn in before
        assert set(engine) <= before


def test_the_engine_waits_for_no_model(graph: Graph) -> None:
    models = {m.urn for m in graph.models()}
    (engine,) = graph.of("IdleScalingEngine")
    assert not models & graph.before(engine)


def test_everything_in_a_namespace_comes_after_it(graph: Graph) -> None:
    # what the charts create is theirs to order
    namespaces = {r.object_name: r.urn for r in graph.of("Namespace")}
    assert set(namespaces) == {"ebbtide", "ebbtide-models", "keda"}
    inside = [r for r in graph.kubernetes() if "namespace" in r.inputs.get("metadata", {})]
    assert len(inside) > 10
    for resource in inside:
        assert namespaces[resource.inputs["metadata"]["namespace"]] in graph.before(resource), resource.urn


def test_no_pod_runs_before_its_network_policy_and_its_quota(graph: Graph) -> None:
    quota = graph.one("ResourceQuota", "gpu-guard")
    closed = graph.one("NetworkPolicy", "default-deny")
    for model in graph.models():
        own = graph.one("NetworkPolicy", model.object_name)
        assert {quota.urn, closed.urn, own.urn} <= graph.before(model)
    assert graph.one("NetworkPolicy", "gateway").urn in graph.before(graph.gateway())


def test_the_quota_is_the_guards_number_of_gpus(graph: Graph, stack: str) -> None:
    most = sections(stack)["ebbtide:guard"]["maxGpus"]
    assert graph.one("ResourceQuota").inputs["spec"]["hard"] == {"requests.nvidia.com/gpu": str(most)}
    assert graph.one("ResourceQuota").inputs["metadata"]["namespace"] == "ebbtide-models"


def test_nodes_get_their_pools_label_and_taint_before_a_model_can_want_them(graph: Graph, stack: str) -> None:
    (patch,) = graph.of("NodePatch")
    ((name, pool),) = sections(stack)["ebbtide:pools"].items()
    worker = name.replace("-", "_")
    assert [patch.object_name] == pool.get("nodes", ["ebbtide-gpu"])
    assert patch.inputs["metadata"]["labels"] == {"workerType": worker}
    assert patch.inputs["spec"]["taints"] == [{"key": "workerType", "value": worker, "effect": "NoSchedule"}]
    for model in graph.models():
        assert patch.urn in graph.before(model)


def test_destroy_can_take_everything_away(graph: Graph) -> None:
    assert not [r.urn for r in graph.recorded if r.protected]
