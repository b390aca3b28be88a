"""One model's arguments, workload, probes and network: what would break a user if it were wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from components.model_service.arguments import (
    LOGGING,
    engine_arguments,
    engine_environment,
)
from components.model_service.managed_flags import TURNS, managed_flag
from components.model_service.namespace import gpu_quota, instance_class, instance_quota, namespace_labels
from components.model_service.network import Peer, default_deny, model_policy
from components.model_service.settings import ModelSettings, Task
from components.model_service.timing import startup_budget_seconds, termination_grace_seconds
from components.model_service.workload import (
    Placement,
    deployment,
    disruption_budget,
    leader_worker_set,
    selector,
    service,
)
from components.platforms.contract import Endpoint, Pool, Taint, Weights
from components.vllm_image.build import CONTEXT

MODEL = ModelSettings(
    name="smollm2-135m",
    model_id="HuggingFaceTB/SmolLM2-135M-Instruct",
    revision="1" * 40,
    aliases=("small",),
    max_tokens=2048,
    max_sequences=16,
    max_queued=32,
    dtype="bfloat16",
    cold_start_seconds=50,
    hold_seconds=300,
    drain_seconds=120,
)
POOL = Pool(
    name="gpu-1xa10",
    labels={"workerType": "gpu_1xa10"},
    taints=(Taint("workerType", "gpu_1xa10"),),
    gpus_per_node=2,
)
LOCAL = Weights(
    path="/models/smollm2",
    volumes=({"name": "models", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}},),
    mounts=({"name": "models", "mountPath": "/models", "readOnly": True},),
)
HUB = Weights(path="HuggingFaceTB/SmolLM2-135M-Instruct")
BUCKET = Weights(path="s3://weights/smollm2", load_format="runai_streamer")
PLACE = Placement(
    namespace="ebbtide-models", pool=POOL, image="registry.example/vllm@sha256:" + "b" * 64, weights=LOCAL
)


def value_of(arguments: list[str], flag: str) -> str:
    return arguments[arguments.index(flag) + 1]


def pod_of(model: ModelSettings = MODEL, place: Placement = PLACE) -> dict[str, Any]:
    pod: dict[str, Any] = deployment(model, place)["spec"]["template"]["spec"]
    return pod


def container_of(model: ModelSettings = MODEL, place: Placement = PLACE) -> dict[str, Any]:
    (container,) = pod_of(model, place)["containers"]
    return dict(container)


def test_the_engine_serves_the_mounted_weights_under_name_and_aliases() -> None:
    arguments = engine_arguments(MODEL, LOCAL, "cuda")
    assert value_of(arguments, "--model") == "/models/smollm2"
    at = arguments.index("--served-model-name")
    assert arguments[at + 1 : at + 3] == ["smollm2-135m", "small"]
    assert "--revision" not in arguments


def test_a_hub_id_is_loaded_at_its_pinned_revision() -> None:
    assert value_of(engine_arguments(MODEL, HUB, "cuda"), "--revision") == "1" * 40


def test_a_bucket_is_streamed_without_a_revision() -> None:
    arguments = engine_arguments(MODEL, BUCKET, "cuda")
    assert value_of(arguments, "--load-format") == "runai_streamer"
    assert "--revision" not in arguments


def test_limits_reach_the_engine() -> None:
    arguments = engine_arguments(MODEL, LOCAL, "cuda")
    assert value_of(arguments, "--max-model-len") == "2048"
    assert value_of(arguments, "--max-num-seqs") == "16"
    assert value_of(arguments, "--dtype") == "bfloat16"


def test_the_queue_limit_counts_running_requests_too() -> None:
    assert value_of(engine_arguments(MODEL, LOCAL, "cuda"), "--max-num-queued-reqs") == "48"


@pytest.mark.parametrize(
    ("task", "flags"),
    [
        ("chat", []),
        ("transcribe", []),
        ("embed", ["--runner", "pooling", "--convert", "embed"]),
        ("rerank", ["--runner", "pooling", "--convert", "classify"]),
        ("score", ["--runner", "pooling", "--convert", "classify"]),
    ],
)
def test_a_task_makes_the_engine_what_its_paths_need(task: Task, flags: list[str]) -> None:
    arguments = engine_arguments(replace(MODEL, task=task), LOCAL, "cuda")
    plain = engine_arguments(MODEL, LOCAL, "cuda")
    assert [argument for argument in arguments if argument not in plain] == flags


def test_no_queue_limit_means_no_flag() -> None:
    assert "--max-num-queued-reqs" not in engine_arguments(replace(MODEL, max_queued=None), LOCAL, "cuda")


def test_streams_are_drained_before_the_engine_stops() -> None:
    assert value_of(engine_arguments(MODEL, LOCAL, "cuda"), "--shutdown-timeout") == "120"


def test_several_gpus_are_one_tensor_parallel_group() -> None:
    assert value_of(engine_arguments(replace(MODEL, gpus=4), LOCAL, "cuda"), "--tensor-parallel-size") == "4"
    assert "--tensor-parallel-size" not in engine_arguments(MODEL, LOCAL, "cuda")


def test_on_a_cpu_the_cache_is_sized_in_bytes_and_never_by_a_share_of_the_machine() -> None:
    model = replace(MODEL, gpu_memory_utilization=0.9)
    arguments = engine_arguments(model, LOCAL, "cpu")
    assert "--gpu-memory-utilization" not in arguments
    assert value_of(arguments, "--kv-cache-memory-bytes") == str(1024**3)
    assert value_of(engine_arguments(model, LOCAL, "cuda"), "--gpu-memory-utilization") == "0.9"


def test_a_chosen_cache_size_holds_on_both_devices() -> None:
    model = replace(MODEL, kv_cache_bytes=512 * 1024**2)
    for device in ("cpu", "cuda"):
        assert value_of(engine_arguments(model, LOCAL, device), "--kv-cache-memory-bytes") == "536870912"


def test_several_gpus_on_a_cpu_pool_are_refused() -> None:
    with pytest.raises(ValueError, match="gpus is 2, allowed is 1 in a pool whose device is cpu"):
        engine_arguments(replace(MODEL, gpus=2), LOCAL, "cpu")


def test_extra_arguments_come_last_as_written() -> None:
    model = replace(MODEL, extra_args=("--enforce-eager", "--seed", "7"))
    assert engine_arguments(model, LOCAL, "cpu")[-3:] == ["--enforce-eager", "--seed", "7"]


def test_a_value_that_looks_like_a_managed_flag_is_none() -> None:
    values = ("--chat-template-content-format", "port", "--enforce-eager")
    assert [managed_flag(argument) for argument in values] == [None] * 3


def test_mounted_weights_are_served_offline_and_a_hub_id_is_not() -> None:
    assert engine_environment(MODEL, LOCAL)["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in engine_environment(MODEL, HUB)


def test_everything_the_engine_writes_lies_on_a_scratch_volume() -> None:
    environment = engine_environment(MODEL, LOCAL)
    mounts = {mount["mountPath"] for mount in container_of()["volumeMounts"]}
    for name, value in environment.items():
        if value.startswith("/") and value != LOGGING:  # read, and part of the image
            assert any(value == mount or value.startswith(f"{mount}/") for mount in mounts), name


def test_the_front_end_waits_as_long_for_its_engine_as_the_kubelet_does() -> None:
    assert engine_environment(MODEL, LOCAL)["VLLM_ENGINE_READY_TIMEOUT_S"] == "300"
    assert container_of()["startupProbe"]["failureThreshold"] == 300


def test_extra_environment_is_added_and_what_is_decided_here_is_refused() -> None:
    assert engine_environment(replace(MODEL, extra_env={"NCCL_DEBUG": "WARN"}), LOCAL)["NCCL_DEBUG"] == "WARN"
    with pytest.raises(ValueError, match="extraEnv sets HF_HOME"):
        engine_environment(replace(MODEL, extra_env={"HF_HOME": "/x"}), LOCAL)


def test_an_engine_that_shares_its_card_by_turns_can_sleep_and_waits_for_its_turn_to_start() -> None:
    sharing = replace(PLACE, pool=replace(POOL, turns=True))
    container = pod_of(place=sharing)["containers"][0]
    assert "--enable-sleep-mode" in container["args"]
    variables = {entry["name"]: entry["value"] for entry in container["env"]}
    assert (variables["VLLM_SERVER_DEV_MODE"], variables[TURNS]) == ("1", "1")
    assert f"${{{TURNS}-}}" in (CONTEXT / "serve.sh").read_text()
    on_cpu = replace(sharing, pool=replace(sharing.pool, device="cpu"))
    assert "--enable-sleep-mode" not in pod_of(place=on_cpu)["containers"][0]["args"], "vLLM refuses it there"
    alone = pod_of()["containers"][0]
    assert "--enable-sleep-mode" not in alone["args"]
    assert not {"VLLM_SERVER_DEV_MODE", TURNS} & {entry["name"] for entry in alone["env"]}, "the doors stay shut"
    with pytest.raises(ValueError, match="extraEnv sets VLLM_SERVER_DEV_MODE"):
        engine_environment(replace(MODEL, extra_env={"VLLM_SERVER_DEV_MODE": "1"}), LOCAL)


def test_an_engines_last_words_are_kept_unless_the_model_says_how_it_logs() -> None:
    assert engine_environment(MODEL, LOCAL)["VLLM_LOGGING_CONFIG_PATH"] == LOGGING
    for own in ({"VLLM_LOGGING_LEVEL": "DEBUG"}, {"VLLM_CONFIGURE_LOGGING": "0"}):
        assert "VLLM_LOGGING_CONFIG_PATH" not in engine_environment(replace(MODEL, extra_env=own), LOCAL)
    own = {"VLLM_LOGGING_CONFIG_PATH": "/etc/mine.json"}
    assert engine_environment(replace(MODEL, extra_env=own), LOCAL)["VLLM_LOGGING_CONFIG_PATH"] == "/etc/mine.json"


def test_a_sleeping_model_starts_without_a_pod_and_nobody_waits_for_one() -> None:
    manifest = deployment(MODEL, PLACE)
    assert manifest["spec"]["replicas"] == 0
    assert manifest["metadata"]["annotations"]["pulumi.com/skipAwait"] == "true"
    assert service(MODEL, PLACE)["metadata"]["annotations"]["pulumi.com/skipAwait"] == "true"


def test_the_service_finds_the_pods_under_the_models_name() -> None:
    manifest = service(MODEL, PLACE)
    labels = deployment(MODEL, PLACE)["spec"]["template"]["metadata"]["labels"]
    assert manifest["metadata"]["name"] == "smollm2-135m"
    assert manifest["spec"]["selector"].items() <= labels.items()
    (port,) = manifest["spec"]["ports"]
    assert (port["name"], port["port"], port["targetPort"]) == ("http", 8000, "http")


def test_the_pod_goes_to_its_pool_and_asks_for_its_gpus() -> None:
    pod = pod_of(replace(MODEL, gpus=2))
    assert pod["nodeSelector"] == {"workerType": "gpu_1xa10"}
    assert pod["tolerations"] == [
        {"key": "workerType", "operator": "Equal", "value": "gpu_1xa10", "effect": "NoSchedule"}
    ]
    assert pod["containers"][0]["resources"] == {
        "limits": {"nvidia.com/gpu": "2"},
        "requests": {"cpu": "3", "memory": "11Gi", "nvidia.com/gpu": "2"},
    }


def test_a_mig_profile_is_asked_for_by_its_own_name() -> None:
    place = replace(PLACE, pool=replace(POOL, gpu_resource="nvidia.com/mig-1g.10gb"))
    assert container_of(place=place)["resources"]["limits"] == {"nvidia.com/mig-1g.10gb": "1"}


def test_cpu_and_memory_can_be_reserved_but_are_never_limited() -> None:
    resources = container_of(replace(MODEL, requests={"memory": "8Gi"}))["resources"]
    assert resources["requests"]["memory"] == "8Gi"
    assert set(resources["limits"]) == {"nvidia.com/gpu"}


def test_restricted_pod_security_accepts_the_pod() -> None:
    pod, container = pod_of(), container_of()
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == 10001
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    allowed = {"emptyDir", "persistentVolumeClaim", "configMap", "secret", "projected", "csi", "ephemeral"}
    assert all(set(volume) - {"name"} <= allowed for volume in pod["volumes"])


def test_a_host_path_is_refused_before_the_cluster_does() -> None:
    weights = Weights(path="/models/x", volumes=({"name": "models", "hostPath": {"path": "/models"}},))
    with pytest.raises(ValueError, match="volume models is a hostPath"):
        deployment(MODEL, replace(PLACE, weights=weights))


def test_the_pod_gets_no_token_and_no_service_variables() -> None:
    pod = pod_of()
    assert pod["automountServiceAccountToken"] is False
    assert pod["enableServiceLinks"] is False


def test_an_engine_that_ends_leaves_its_last_words_with_the_kubelet() -> None:
    assert container_of()["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_weights_and_shared_memory_are_mounted() -> None:
    pod = pod_of(replace(MODEL, gpus=4))
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    assert volumes["shared-memory"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}
    assert mounts == {"shared-memory": "/dev/shm", "cache": "/cache", "tmp": "/tmp", "models": "/models"}


def test_a_load_may_take_as_long_as_a_client_is_held_and_thrice_its_estimate() -> None:
    assert startup_budget_seconds(cold_start_seconds=50, hold_seconds=300) == 300
    assert startup_budget_seconds(cold_start_seconds=600, hold_seconds=900) == 1800


def test_the_startup_probe_looks_every_second() -> None:
    assert container_of()["startupProbe"]["periodSeconds"] == 1


def test_the_kubelet_waits_longer_than_pre_stop_and_drain() -> None:
    pod = pod_of()
    sleep = pod["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert pod["terminationGracePeriodSeconds"] == termination_grace_seconds(120)
    assert pod["terminationGracePeriodSeconds"] >= sleep + 120 + 20


def test_an_update_never_needs_one_gpu_more() -> None:
    assert deployment(MODEL, PLACE)["spec"]["strategy"] == {"type": "Recreate"}
    several = deployment(replace(MODEL, max_replicas=3), PLACE)["spec"]["strategy"]
    assert several["rollingUpdate"]["maxSurge"] == 0


@pytest.mark.parametrize(("replicas", "has_budget"), [(0, False), (1, False), (2, True)])
def test_only_replicas_that_always_run_get_a_disruption_budget(replicas: int, has_budget: bool) -> None:
    budget = disruption_budget(replace(MODEL, min_replicas=replicas, max_replicas=3), PLACE)
    assert (budget is not None) is has_budget


def test_identity_labels_never_change_what_the_service_selects() -> None:
    place = replace(PLACE, pod_labels={"identity/use": "true", "app.kubernetes.io/name": "other"})
    labels = deployment(MODEL, place)["spec"]["template"]["metadata"]["labels"]
    assert labels["identity/use"] == "true"
    assert selector(MODEL).items() <= labels.items()


def test_only_named_callers_reach_the_engine_and_it_reaches_nobody() -> None:
    callers = [Peer("keda", {"app.kubernetes.io/instance": "interceptor"}), Peer("monitoring")]
    spec = model_policy("m", "ns", {"a": "b"}, callers, Weights("/models/m"))["spec"]
    (rule,) = spec["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": 8000}]
    assert rule["from"] == [
        {
            "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}},
            "podSelector": {"matchLabels": {"app.kubernetes.io/instance": "interceptor"}},
        },
        {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}},
    ]
    assert "egress" not in spec
    assert spec["policyTypes"] == ["Ingress", "Egress"]


def test_no_caller_means_nobody_and_not_everybody() -> None:
    spec = model_policy("m", "ns", {"a": "b"}, [], Weights("/models/m"))["spec"]
    assert "ingress" not in spec
    assert spec["policyTypes"] == ["Ingress", "Egress"]


def test_the_engine_fetches_nothing_that_a_request_names_unless_its_host_is_given() -> None:
    arguments = engine_arguments(MODEL, LOCAL, "cuda")
    at = arguments.index("--allowed-media-domains")
    # an empty list would be every host; this one cannot exist
    assert arguments[at + 1 : at + 3] == ["media.invalid", "--shutdown-timeout"]
    own = replace(MODEL, media_domains=("images.example.com", "cdn.example.com"))
    assert engine_arguments(own, LOCAL, "cuda")[at + 1 : at + 3] == ["images.example.com", "cdn.example.com"]
    assert engine_environment(own, LOCAL)["VLLM_MEDIA_URL_ALLOW_REDIRECTS"] == "0"


def test_a_model_that_may_fetch_is_let_out_where_its_weights_lie_beside_it() -> None:
    dns, https = model_policy("m", "ns", {"a": "b"}, [], Weights("/models/m"), fetches=True)["spec"]["egress"]
    assert {port["port"] for port in dns["ports"]} == {53, 5353}
    assert https["to"] == [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}]


def test_weights_from_a_bucket_open_dns_and_https_but_not_the_metadata_address() -> None:
    dns, https = model_policy("m", "ns", {"a": "b"}, [], Weights("s3://b/m"))["spec"]["egress"]
    assert {port["port"] for port in dns["ports"]} == {53, 5353}
    assert https["to"] == [{"ipBlock": {"cidr": "0.0.0.0/0", "except": ["169.254.0.0/16"]}}]


def test_a_pod_is_let_out_to_where_the_place_gives_it_its_own_identity_and_to_no_other_link_local_address() -> None:
    weights = Weights("s3://b/m", credentials=(Endpoint("169.254.170.23/32", (80,)),), environment={"AWS_REGION": "r"})
    credentials = model_policy("m", "ns", {"a": "b"}, [], weights)["spec"]["egress"][2]
    assert credentials == {
        "to": [{"ipBlock": {"cidr": "169.254.170.23/32"}}],
        "ports": [{"protocol": "TCP", "port": 80}],
    }
    environment = engine_environment(MODEL, weights)
    assert environment["AWS_REGION"] == "r"
    assert environment["HF_HUB_OFFLINE"] == "1"


def test_the_namespace_is_closed_and_restricted() -> None:
    assert default_deny("ns")["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
    assert namespace_labels()["pod-security.kubernetes.io/enforce"] == "restricted"


def test_the_guard_counts_every_gpu_resource_once() -> None:
    assert gpu_quota(2, ["nvidia.com/gpu", "nvidia.com/gpu", "nvidia.com/mig-1g.10gb"]) == {
        "requests.nvidia.com/gpu": "2",
        "requests.nvidia.com/mig-1g.10gb": "2",
    }


def test_a_negative_guard_is_refused() -> None:
    with pytest.raises(ValueError, match="maxGpus is -1, allowed is 0 or more"):
        gpu_quota(-1, ["nvidia.com/gpu"])


def test_instances_are_counted_by_a_class_that_changes_nothing_else() -> None:
    counted = replace(PLACE, priority_class=instance_class("ebbtide-models"))
    assert pod_of() == {key: value for key, value in pod_of(place=counted).items() if key != "priorityClassName"}
    (scope,) = instance_quota(3, "ebbtide-models")["scopeSelector"]["matchExpressions"]
    assert scope["values"] == [pod_of(place=counted)["priorityClassName"]] == ["ebbtide-models-instance"]


def test_a_replica_on_several_machines_is_one_instance() -> None:
    counted = replace(PLACE, priority_class="instance")
    group = leader_worker_set(replace(MODEL, nodes=2), counted)["spec"]["leaderWorkerTemplate"]
    assert group["leaderTemplate"]["spec"]["priorityClassName"] == "instance"
    assert "priorityClassName" not in group["workerTemplate"]["spec"]


def test_an_autoscaler_that_tidies_up_moves_no_model() -> None:
    annotations = deployment(MODEL, PLACE)["spec"]["template"]["metadata"]["annotations"]
    assert annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"


def test_the_liveness_probe_asks_for_a_sign_that_the_engine_computes() -> None:
    probe = container_of(replace(MODEL, stall_seconds=600))["livenessProbe"]
    assert "httpGet" not in probe
    assert probe["exec"]["command"] == [
        "python3", "-I", "-S", "/usr/local/bin/canary.py", "8000", "smollm2-135m", "480",
    ]  # fmt: skip


def test_a_stalled_engine_is_restarted_no_sooner_than_its_bound() -> None:
    for stall in (120, 300, 3600):
        probe = container_of(replace(MODEL, stall_seconds=stall))["livenessProbe"]
        patience = int(probe["exec"]["command"][-1])
        assert patience + (probe["failureThreshold"] - 1) * probe["periodSeconds"] == stall


def test_the_kubelet_waits_for_the_canary_longer_than_it_waits_itself_and_less_than_to_the_next() -> None:
    source = (CONTEXT / "canary.py").read_text()
    looks = float(source.split("PROBE_SECONDS = ")[1].split()[0])
    answer = float(source.split("patience, seconds=")[1].split(")")[0])
    probe = container_of()["livenessProbe"]
    assert 3 * looks + answer < probe["timeoutSeconds"] < probe["periodSeconds"]


def test_a_wedged_engine_is_not_given_the_drain_of_one_that_answers() -> None:
    probe, pod = container_of()["livenessProbe"], pod_of()
    stop = container_of()["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert stop < probe["terminationGracePeriodSeconds"] < pod["terminationGracePeriodSeconds"]
