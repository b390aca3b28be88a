"""A model larger than one machine: its LeaderWorkerSet, who may talk to whom, who answers, and what scales it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from components.idle_scaling.policy import IdlePolicy, scaled_object
from components.model_service.arguments import engine_arguments
from components.model_service.managed_flags import managed_flag
from components.model_service.network import Peer, model_policy
from components.model_service.settings import ModelSettings
from components.model_service.timing import PRE_STOP_SECONDS, termination_grace_seconds
from components.model_service.workload import (
    Placement,
    deployment,
    disruption_budget,
    leader_worker_set,
    selector,
    service,
)
from components.platforms.contract import Pool, Taint, Weights

MODEL = ModelSettings(
    name="large",
    model_id="meta-llama/Llama-3.1-405B-Instruct",
    revision="1" * 40,
    gpus=8,
    nodes=2,
    max_tokens=8192,
    cold_start_seconds=1500,
    hold_seconds=2250,
    drain_seconds=120,
    extra_args=("--enforce-eager",),
)
POOL = Pool("gpu-8xh100", {"workerType": "gpu_8xh100"}, (Taint("workerType", "gpu_8xh100"),), gpus_per_node=8)
MOUNTED = Weights(
    "/models/large",
    volumes=({"name": "models", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}},),
    mounts=({"name": "models", "mountPath": "/models", "readOnly": True},),
)
PLACE = Placement(
    namespace="ebbtide-models",
    pool=POOL,
    image="r.example/vllm@sha256:" + "b" * 64,
    weights=MOUNTED,
    pod_labels={"identity": "yes"},
)


def group(model: ModelSettings = MODEL) -> dict[str, Any]:
    template: dict[str, Any] = leader_worker_set(model, PLACE)["spec"]["leaderWorkerTemplate"]
    return template


def container(which: str) -> dict[str, Any]:
    (container_found,) = group()[f"{which}Template"]["spec"]["containers"]
    return dict(container_found)


def value_of(arguments: list[str], flag: str) -> str:
    return arguments[arguments.index(flag) + 1]


BOTH = pytest.mark.parametrize("which", ["leader", "worker"])


@BOTH
def test_every_pod_of_a_group_may_run_on_each_of_the_models_pools(which: str) -> None:
    spot = Pool("spot", {"workerType": "spot"}, (Taint("workerType", "spot"),), gpus_per_node=8)
    template = leader_worker_set(MODEL, replace(PLACE, fallbacks=(spot,)))["spec"]["leaderWorkerTemplate"]
    spec = template[f"{which}Template"]["spec"]
    terms = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert [term["matchExpressions"][0]["values"] for term in terms] == [["gpu_8xh100"], ["spot"]]
    assert len(spec["tolerations"]) == 2


def test_a_group_is_as_large_as_its_machines_and_made_anew_as_a_whole() -> None:
    assert (group()["size"], group()["restartPolicy"]) == (2, "RecreateGroupOnPodRestart")


def test_the_groups_names_are_not_that_of_the_models_service() -> None:
    """LeaderWorkerSet makes no Service for its pods' names where one of its own name is there: no pod finds another."""
    group_made = leader_worker_set(MODEL, PLACE)
    assert service(MODEL, PLACE)["metadata"]["name"] == group_made["metadata"]["name"]
    assert group_made["spec"]["networkConfig"] == {"subdomainPolicy": "UniquePerReplica"}


def test_a_sleeping_model_starts_without_a_group_and_nobody_waits_for_one() -> None:
    group_made = leader_worker_set(MODEL, PLACE)
    assert group_made["spec"]["replicas"] == 0
    assert group_made["metadata"]["annotations"] == {"pulumi.com/skipAwait": "true"}


def test_an_update_never_needs_a_gpu_more_than_the_model_has() -> None:
    rollout = leader_worker_set(MODEL, PLACE)["spec"]["rolloutStrategy"]
    assert rollout["rollingUpdateConfiguration"] == {"maxSurge": 0, "maxUnavailable": 1}


@BOTH
def test_each_machine_of_a_group_learns_its_place_from_what_leader_worker_set_sets(which: str) -> None:
    arguments = container(which)["args"]
    assert value_of(arguments, "--nnodes") == "2"
    assert value_of(arguments, "--node-rank") == "$(LWS_WORKER_INDEX)"
    assert value_of(arguments, "--master-addr") == "$(LWS_LEADER_ADDRESS)"
    assert value_of(arguments, "--distributed-executor-backend") == "mp"
    assert value_of(arguments, "--tensor-parallel-size") == "8"
    assert value_of(arguments, "--pipeline-parallel-size") == "2"


@BOTH
def test_the_machines_wait_for_each_other_as_long_as_a_cold_start_takes(which: str) -> None:
    assert value_of(container(which)["args"], "--distributed-timeout-seconds") == "1500"


def test_all_machines_run_one_engine_and_only_the_leader_answers() -> None:
    leader, worker = container("leader"), container("worker")
    assert worker["args"] == [*leader["args"], "--headless"]
    assert "command" not in worker | leader, "the image's entry point is in front of both, for who is told to go"
    assert [port["name"] for port in leader["ports"]] == ["http"]
    assert "ports" not in worker
    assert worker["image"] == leader["image"] == PLACE.image
    assert worker["env"] == leader["env"]


def test_the_leaders_probes_ask_for_the_group_and_a_headless_engine_is_not_asked() -> None:
    probes = {"startupProbe", "readinessProbe", "livenessProbe"}
    single = deployment(replace(MODEL, nodes=1), PLACE)["spec"]["template"]["spec"]["containers"][0]
    assert {name: container("leader")[name] for name in probes} == {name: single[name] for name in probes}
    assert not probes & set(container("worker"))


@BOTH
def test_every_machine_of_a_group_is_in_the_models_pool_with_all_its_gpus(which: str) -> None:
    spec = group()[f"{which}Template"]["spec"]
    assert spec["nodeSelector"] == {"workerType": "gpu_8xh100"}
    assert [toleration["value"] for toleration in spec["tolerations"]] == ["gpu_8xh100"]
    assert container(which)["resources"]["limits"] == {"nvidia.com/gpu": "8"}
    (shared,) = [volume for volume in spec["volumes"] if volume["name"] == "shared-memory"]
    assert shared["emptyDir"] == {"medium": "Memory", "sizeLimit": "16Gi"}


@BOTH
def test_every_machine_of_a_group_is_restricted_and_has_time_to_drain(which: str) -> None:
    spec = group()[f"{which}Template"]["spec"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container(which)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert spec["terminationGracePeriodSeconds"] == termination_grace_seconds(120)
    assert container(which)["lifecycle"]["preStop"]["sleep"]["seconds"] == PRE_STOP_SECONDS


@BOTH
def test_every_pod_of_a_group_is_found_by_policy_and_budget_and_stays_where_it_is(which: str) -> None:
    metadata = group()[f"{which}Template"]["metadata"]
    assert selector(MODEL).items() <= metadata["labels"].items()
    assert metadata["labels"]["identity"] == "yes"
    assert metadata["annotations"] == {"cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
    budget = disruption_budget(replace(MODEL, min_replicas=2, max_replicas=2), PLACE)
    assert budget is not None
    assert budget["spec"]["selector"]["matchLabels"].items() <= metadata["labels"].items()


def test_a_split_of_the_models_own_reaches_the_engine() -> None:
    arguments = engine_arguments(replace(MODEL, tensor_parallel=16, pipeline_parallel=1), MOUNTED, "cuda")
    assert value_of(arguments, "--tensor-parallel-size") == "16"
    assert "--pipeline-parallel-size" not in arguments
    single = engine_arguments(replace(MODEL, nodes=1, tensor_parallel=4, pipeline_parallel=2), MOUNTED, "cuda")
    assert (value_of(single, "--tensor-parallel-size"), value_of(single, "--pipeline-parallel-size")) == ("4", "2")
    assert "--nnodes" not in single


def test_a_split_that_leaves_a_gpu_idle_or_a_group_on_a_cpu_is_refused() -> None:
    with pytest.raises(ValueError, match="tensorParallel 8 × pipelineParallel 1 is 8, allowed is nodes × gpus, 16"):
        engine_arguments(replace(MODEL, pipeline_parallel=1), MOUNTED, "cuda")
    with pytest.raises(ValueError, match="nodes is 2, allowed is 1 in a pool whose device is cpu"):
        engine_arguments(replace(MODEL, gpus=1), MOUNTED, "cpu")
    with pytest.raises(ValueError, match="one machine a replica is a Deployment's"):
        leader_worker_set(replace(MODEL, nodes=1), PLACE)


@pytest.mark.parametrize("flag", ["--nnodes=2", "-n", "--node_rank", "-r", "--master-addr", "--headless", "-pp"])
def test_what_makes_the_machines_one_engine_is_not_for_extra_arguments(flag: str) -> None:
    assert managed_flag(flag)


def test_a_request_goes_to_leaders_alone() -> None:
    assert service(MODEL, PLACE)["spec"]["selector"] == {
        **selector(MODEL),
        "leaderworkerset.sigs.k8s.io/worker-index": "0",
    }
    assert service(replace(MODEL, nodes=1), PLACE)["spec"]["selector"] == selector(MODEL)


def test_pods_of_one_set_talk_to_each_other_on_any_port_and_find_each_other_by_name() -> None:
    callers = [Peer("keda", {"app": "interceptor"})]
    spec = model_policy("large", "ns", selector(MODEL), callers, MOUNTED, is_group=True)["spec"]
    fellows = [{"podSelector": {"matchLabels": {**selector(MODEL), "leaderworkerset.sigs.k8s.io/name": "large"}}}]
    asked, inside = spec["ingress"]
    assert asked["ports"] == [{"protocol": "TCP", "port": 8000}]
    assert inside == {"from": fellows}
    dns, out = spec["egress"]
    assert {port["port"] for port in dns["ports"]} == {53, 5353}
    assert out == {"to": fellows}
    assert spec["podSelector"]["matchLabels"] == selector(MODEL)


def test_a_group_with_a_bucket_keeps_its_way_there_and_names_dns_once() -> None:
    plain = model_policy("m", "ns", {"a": "b"}, [], Weights("s3://b/m"))["spec"]
    grouped = model_policy("m", "ns", {"a": "b"}, [], Weights("s3://b/m"), is_group=True)["spec"]
    assert grouped["egress"][:-1] == plain["egress"]
    assert grouped["ingress"] == [{"from": grouped["egress"][-1]["to"]}]


def test_keda_scales_the_set_of_groups() -> None:
    policy = IdlePolicy(
        name="large",
        namespace="ebbtide-models",
        min_replicas=0,
        max_replicas=2,
        idle_ttl_seconds=1800,
        cold_start_seconds=1500,
        hold_seconds=2250,
        concurrency_target=16,
        load_url="http://keeper",
        target_api="leaderworkerset.x-k8s.io/v1",
        target_kind="LeaderWorkerSet",
    )
    assert scaled_object(policy, "scaler")["spec"]["scaleTargetRef"] == {
        "apiVersion": "leaderworkerset.x-k8s.io/v1",
        "kind": "LeaderWorkerSet",
        "name": "large",
    }
