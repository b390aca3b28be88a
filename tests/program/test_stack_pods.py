"""The pods that the project's own stack files ask for: where they run, from what, and with which rights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.program.stack_kit import BUILT, KEDA_IMAGE, Graph, Recorded, graph_of, run_local, sections

DIGEST = re.compile(r".+@sha256:[0-9a-f]{64}")


@pytest.fixture(params=["local", "onprem"])
def stack(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def graph(stack: str) -> Graph:
    return graph_of(stack)


@pytest.fixture(scope="module")
def two_pools(tmp_path_factory: pytest.TempPathFactory) -> Graph:
    """The local stack with its second model on a pool of its own."""
    config = sections("local")
    config["ebbtide:environment"] = "dev"  # a local stack may hold four GPUs
    config["ebbtide:pools"] |= {
        "gpu-8xh100": {
            "gpu": {"count": 8, "product": "H100", "memory": "80Gi"},
            "taints": [
                {"key": "workerType", "value": "gpu_8xh100", "effect": "NoSchedule"},
                {"key": "team", "value": "research", "effect": "NoSchedule"},
            ],
            "labels": {"workerType": "gpu_8xh100", "team": "research"},
            "max": 1,
            "nodes": ["big-node"],
            "device": "cuda",
        }
    }
    second = config["ebbtide:models"]["smollm2-135m-b"]
    second["pool"] = "gpu-8xh100"
    del second["kvCache"]
    return run_local(config, tmp_path_factory.mktemp("state"))


def tolerated(pod: dict[str, Any], taint: dict[str, str]) -> bool:
    """As the scheduler judges it."""
    for t in pod.get("tolerations", []):
        if t.get("effect") not in (None, "", taint["effect"]):
            continue
        if t.get("operator", "Equal") == "Exists" and t.get("key") in (None, "", taint["key"]):
            return True
        if t.get("operator", "Equal") == "Equal" and (t.get("key"), t.get("value")) == (taint["key"], taint["value"]):
            return True
    return False


def node_of(graph: Graph, node: str) -> tuple[dict[str, str], list[dict[str, str]]]:
    patch = graph.one("NodePatch", node).inputs
    return patch["metadata"]["labels"], patch["spec"]["taints"]


def fits(graph: Graph, deployment: Recorded, node: str) -> bool:
    """Whether labels and taints let this pod onto that node."""
    labels, taints = node_of(graph, node)
    selected = deployment.pod.get("nodeSelector", {}).items() <= labels.items()
    return selected and all(tolerated(deployment.pod, taint) for taint in taints)


def test_each_model_fits_the_nodes_of_its_own_pool_and_of_no_other(two_pools: Graph) -> None:
    first, second = (two_pools.one("Deployment", name) for name in ("smollm2-135m", "smollm2-135m-b"))
    fitting = {(d.object_name, node) for d in (first, second) for node in ("ebbtide-gpu", "big-node")
            if fits(two_pools, d, node)}  # fmt: skip
    assert fitting == {("smollm2-135m", "ebbtide-gpu"), ("smollm2-135m-b", "big-node")}
    # each half alone must tell the pools apart: labels are changed by hand, and taints are too
    for deployment, other in ((first, "big-node"), (second, "ebbtide-gpu")):
        labels, taints = node_of(two_pools, other)
        assert not deployment.pod["nodeSelector"].items() <= labels.items()
        assert not all(tolerated(deployment.pod, taint) for taint in taints)


def test_each_pools_device_gets_an_image_of_its_own(two_pools: Graph) -> None:
    images = {m.object_name: m.pod["containers"][0]["image"] for m in two_pools.models()}
    assert images["smollm2-135m"].endswith(BUILT["vllm-cpu"])
    assert images["smollm2-135m-b"].endswith(BUILT["vllm-cuda"])


def test_a_model_fits_its_pool_and_nothing_but_models_tolerates_a_gpu_node(graph: Graph) -> None:
    (patch,) = graph.of("NodePatch")
    for deployment in graph.of("Deployment"):
        assert fits(graph, deployment, patch.object_name) == (deployment in graph.models()), deployment.urn


def test_only_models_ask_for_gpus_and_they_ask_as_limit_and_request_alike(graph: Graph, stack: str) -> None:
    for deployment in graph.of("Deployment"):
        for container in deployment.pod["containers"]:
            resources = container.get("resources", {})
            asked = [resources.get(half, {}).get("nvidia.com/gpu") for half in ("limits", "requests")]
            number = None
            if deployment in graph.models():
                number = str(sections(stack)["ebbtide:models"][deployment.object_name].get("gpus", 1))
            assert asked == [number, number], deployment.urn


def test_every_image_is_named_by_digest(graph: Graph) -> None:
    for deployment in graph.of("Deployment"):
        for container in [*deployment.pod["containers"], *deployment.pod.get("initContainers", [])]:
            assert DIGEST.fullmatch(container["image"]), f"{deployment.urn}: {container['image']}"


def test_models_gateway_and_keeper_run_what_this_stack_built(graph: Graph, stack: str) -> None:
    engine = {"local": "vllm-cpu", "onprem": "vllm-cuda"}[stack]
    builds = {r.name: r for r in graph.of("Image")}
    assert set(builds) == {engine, "gateway-image"}
    ours = [(graph.gateway(), "gateway-image"), (keeper(graph), "gateway-image")]
    for deployment, build in [*((m, engine) for m in graph.models()), *ours]:
        assert deployment.pod["containers"][0]["image"] == f"registry/{build}@sha256:{BUILT[build]}"
        assert builds[build].urn in deployment.dependencies


def test_images_are_pushed_during_an_update_and_never_during_a_preview(graph: Graph) -> None:
    for image in graph.of("Image"):
        assert image.inputs["buildOnPreview"] is False
        assert image.inputs["push"] is True
        assert image.inputs["tags"]


def test_image_builds_name_no_folder_of_this_machine(graph: Graph) -> None:
    for image in graph.of("Image"):
        assert image.inputs["context"]["location"].startswith("../images/"), "the state must not depend on the clone"
        assert image.inputs["dockerfile"]["location"].startswith("../images/")


def test_the_local_engine_for_scaling_runs_the_image_that_was_made_here() -> None:
    graph = graph_of("local")
    keda = [d for d in graph.of("Deployment") if d.inputs["metadata"]["namespace"] == "keda"]
    assert len(keda) == 6
    assert {d.pod["containers"][0]["image"] for d in keda} == {KEDA_IMAGE}


def keeper(graph: Graph) -> Recorded:
    """The wake keeper's Deployment."""
    return graph.one("Deployment", "wake-keeper")


def own(graph: Graph) -> list[Recorded]:
    """The pods whose every line is ours."""
    return [*graph.models(), graph.gateway(), keeper(graph)]


def test_our_namespaces_refuse_pods_that_are_not_restricted(graph: Graph) -> None:
    for name in ("ebbtide", "ebbtide-models", "keda"):
        labels = graph.one("Namespace", name).inputs["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted", name


def test_our_pods_satisfy_restricted_pod_security(graph: Graph) -> None:
    for deployment in own(graph):
        pod = deployment.pod
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(pod)
        allowed = {"name", "configMap", "emptyDir", "secret", "persistentVolumeClaim"}
        assert all(set(volume) <= allowed for volume in pod["volumes"])
        for container in pod["containers"]:
            own_context = container["securityContext"]
            assert own_context["allowPrivilegeEscalation"] is False
            assert own_context["capabilities"] == {"drop": ["ALL"]}
            assert own_context["readOnlyRootFilesystem"] is True
            assert not own_context.get("privileged")
            assert not [port for port in container["ports"] if "hostPort" in port]


def test_models_carry_no_token_the_gateways_may_only_read_and_the_keepers_pauses_and_tells(graph: Graph) -> None:
    for model in graph.models():
        assert model.pod["automountServiceAccountToken"] is False
        account = graph.one("ServiceAccount", model.pod["serviceAccountName"])
        assert account.inputs["automountServiceAccountToken"] is False
    rights = [r for r in graph.recorded if r.kind in ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")]
    assert {r.kind for r in rights} == {"Role", "RoleBinding"}
    assert {r.object_name for r in graph.of("Role")} == {"gateway-reader", "wake-keeper", "wake-keeper-counts"}
    reading = {"get", "list", "watch"}
    read = graph.one("Role", "gateway-reader").inputs["rules"]
    assert [(rule["apiGroups"], rule["resources"]) for rule in read] == [
        (["apps"], ["deployments"]),
        (["keda.sh"], ["scaledobjects"]),
        (["discovery.k8s.io"], ["endpointslices"]),
    ]
    assert all(set(rule["verbs"]) <= reading for rule in read)
    kept = {rule["resources"][0]: set(rule["verbs"]) for rule in graph.one("Role", "wake-keeper").inputs["rules"]}
    assert set(kept) == {"deployments", "pods", "scaledobjects", "events"}
    assert {name: verbs - reading for name, verbs in kept.items() if verbs - reading} == {
        "scaledobjects": {"patch"},
        "events": {"create"},
    }
    (counts,) = graph.one("Role", "wake-keeper-counts").inputs["rules"]
    assert (counts["resources"], set(counts["verbs"])) == (["pods"], {"list", "watch"})
    subjects = {r.object_name: r.inputs["subjects"][0]["name"] for r in graph.of("RoleBinding")}
    keeper = "wake-keeper"
    assert subjects == {"gateway-reader": "gateway", "wake-keeper": keeper, "wake-keeper-counts": keeper}


def test_the_keeper_is_told_how_long_each_load_may_take_and_that_no_node_will_come(graph: Graph, stack: str) -> None:
    settings = yaml.safe_load(graph.one("ConfigMap", "wake-keeper").inputs["data"]["keeper.yaml"])
    assert {model["name"] for model in settings["models"]} == set(sections(stack)["ebbtide:models"])
    gateway = yaml.safe_load(graph.one("ConfigMap", "gateway").inputs["data"]["gateway.yaml"])
    holds = {model["name"]: model["holdSeconds"] for model in gateway["models"]}
    assert {model["name"]: model["holdSeconds"] for model in settings["models"]} == holds
    assert not any(model["growable"] for model in settings["models"]), "these places' nodes are there already"


def test_no_model_pod_is_told_of_services_by_variables(graph: Graph) -> None:
    # a Service called vllm would set VLLM_PORT=tcp://…, and the engine reads that
    assert all(deployment.pod["enableServiceLinks"] is False for deployment in own(graph))


def test_a_model_that_goes_has_time_for_its_last_answer(graph: Graph) -> None:
    for model in graph.models():
        (container,) = model.pod["containers"]
        arguments = container["args"]
        drain = int(arguments[arguments.index("--shutdown-timeout") + 1])
        pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert drain > 0
        assert pause > 0
        assert model.pod["terminationGracePeriodSeconds"] > pause + drain


def test_a_gateway_that_goes_has_time_for_its_last_answer_also_to_who_waits_for_a_wake(graph: Graph) -> None:
    document = yaml.safe_load(graph.one("ConfigMap", "gateway").inputs["data"]["gateway.yaml"])
    drain = document["limits"]["shutdownSeconds"]
    assert drain > max(model["holdSeconds"] for model in document["models"])
    leaves = document["limits"]["leaveSeconds"]
    assert leaves > 0
    (container,) = graph.gateway().pod["containers"]
    assert "lifecycle" not in container, "the process itself waits for its balancers, and says so"
    assert graph.gateway().pod["terminationGracePeriodSeconds"] > leaves + drain


def test_weights_are_mounted_read_only(graph: Graph) -> None:
    for model in graph.models():
        claims = [v["persistentVolumeClaim"] for v in model.pod["volumes"] if "persistentVolumeClaim" in v]
        assert claims
        assert all(claim["readOnly"] is True for claim in claims)


def test_a_rendered_manifest_that_is_not_there_stops_the_local_stack(tmp_path: Path) -> None:
    from tests.program.stack_kit import local_facts, run

    local_facts(tmp_path / "nowhere").save(tmp_path / "facts.json")
    with pytest.raises(FileNotFoundError, match=r"nowhere/keda\.yaml"):
        run("local", sections("local"), tmp_path)
