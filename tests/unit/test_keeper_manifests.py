"""What the wake keeper's component asks Kubernetes for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from components.gateway.access import LABELS as GATEWAY_LABELS
from components.gateway.access import METRICS_PORT
from components.gateway.config import GatewaySettings
from components.pushed_image import IMAGES
from components.wake_keeper import KeeperSettings, KeptModel
from components.wake_keeper.access import (
    LABELS,
    gateway_role,
    load_url,
    network_policy,
    pod_guard,
    pod_guard_binding,
    role,
    role_binding,
    service,
    waiting_url,
)
from components.wake_keeper.settings import keeper_yaml
from components.wake_keeper.workload import COMMAND, config_map, deployment
from infra.program.gateway import keeper_settings
from infra.stackfile.schema.stack import DatabaseConfig, StackConfig
from tests.unit import gateway_kit

from ebbtide_keeper import settings as process_settings  # isort: skip

assert gateway_kit

SETTINGS = KeeperSettings(
    [
        KeptModel(name="small", hold_seconds=900, cold_start_seconds=600, growable=True),
        KeptModel(name="tiny", hold_seconds=90, cold_start_seconds=60, growable=False, counted=True),
    ]
)
TURNS = KeeperSettings(
    [
        KeptModel(
            name="small", hold_seconds=900, cold_start_seconds=600, growable=True, turn_seconds=30, sleep_seconds=300
        )
    ]
)
GROUPS = KeeperSettings(
    [
        KeptModel(name="small", hold_seconds=900, cold_start_seconds=600, growable=True),
        KeptModel(name="large", hold_seconds=900, cold_start_seconds=600, growable=True, machines=2),
    ]
)
_ALONE = {"turn_seconds": None, "sleep_seconds": None, "scales_in": False, "machines": 1}


def pod(settings: KeeperSettings = SETTINGS) -> dict[str, Any]:
    return dict(deployment(settings, "image@sha256:1")["spec"]["template"])


def test_what_is_rendered_is_what_the_process_reads(tmp_path: Path) -> None:
    file = tmp_path / "keeper.yaml"
    file.write_text(keeper_yaml(SETTINGS))
    read = process_settings.load(file)
    assert (read.namespace, read.gateway_namespace) == (SETTINGS.models_namespace, SETTINGS.namespace)
    assert [model.model_dump() for model in read.models] == [
        {"name": "small", "hold_seconds": 900, "cold_start_seconds": 600, "growable": True, "counted": False, **_ALONE},
        {"name": "tiny", "hold_seconds": 90, "cold_start_seconds": 60, "growable": False, "counted": True, **_ALONE},
    ]
    file.write_text(keeper_yaml(TURNS))
    (small,) = process_settings.load(file).models
    assert (small.turn_seconds, small.sleep_seconds) == (30, 300)
    file.write_text(
        keeper_yaml(
            KeeperSettings(
                [KeptModel(name="small", hold_seconds=900, cold_start_seconds=600, growable=True, scales_in=True)]
            )
        )
    )
    assert process_settings.load(file).models[0].scales_in
    file.write_text(keeper_yaml(GROUPS))
    assert sorted(model.machines for model in process_settings.load(file).models) == [1, 2]
    assert config_map(SETTINGS)["data"] == {"keeper.yaml": keeper_yaml(SETTINGS)}


def test_it_may_write_nothing_but_scaled_objects_and_events_and_only_beside_the_models() -> None:
    role_made = role(SETTINGS)
    assert role_made["metadata"]["namespace"] == "ebbtide-models"
    verbs = {(rule["apiGroups"][0], rule["resources"][0]): set(rule["verbs"]) for rule in role_made["rules"]}
    reading = {"get", "list", "watch"}
    writing = {resource: verbs - reading for resource, verbs in verbs.items() if verbs - reading}
    assert writing == {("keda.sh", "scaledobjects"): {"patch"}, ("", "events"): {"create"}}
    assert set(verbs) == {("apps", "deployments"), ("", "pods"), *writing}
    beside = gateway_role(SETTINGS)
    assert beside["metadata"]["namespace"] == "ebbtide"
    assert beside["rules"] == [{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}]
    for granted in (role_made, beside):
        bound = role_binding(SETTINGS, granted)
        assert bound["metadata"]["namespace"] == granted["metadata"]["namespace"]
        assert bound["roleRef"]["name"] == granted["metadata"]["name"]
        assert bound["subjects"] == [{"kind": "ServiceAccount", "name": "wake-keeper", "namespace": "ebbtide"}]


def test_it_sees_leader_worker_sets_where_a_model_is_one() -> None:
    rule = {"resources": ["leaderworkersets"], "verbs": ["get", "list", "watch"]}
    rule_of_groups = {"apiGroups": ["leaderworkerset.x-k8s.io"], **rule}
    assert rule_of_groups in role(GROUPS)["rules"]
    assert rule_of_groups not in role(SETTINGS)["rules"]


def test_where_a_model_may_have_several_replicas_it_may_change_pods_within_the_guard() -> None:
    several = replace(SETTINGS, models=[replace(SETTINGS.models[0], scales_in=True)])
    assert {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch", "patch"]} in role(several)["rules"]
    assert "patch" not in gateway_role(several)["rules"][0]["verbs"]
    guard, bound = pod_guard(several), pod_guard_binding(several)
    assert bound["spec"]["policyName"] == guard["metadata"]["name"] == "wake-keeper.ebbtide-models"
    assert (guard["spec"]["failurePolicy"], bound["spec"]["validationActions"]) == ("Fail", ["Deny"])
    assert "system:serviceaccount:ebbtide:wake-keeper" in guard["spec"]["matchConditions"][0]["expression"]


def test_the_pod_meets_the_restricted_standard_with_a_read_only_root() -> None:
    spec = pod()["spec"]
    (container,) = spec["containers"]
    assert (spec["securityContext"]["runAsNonRoot"], spec["securityContext"]["runAsUser"]) == (True, 10001)
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert "tolerations" not in spec


def test_two_keepers_never_count_one_failure_and_a_changed_configuration_rolls_the_pod() -> None:
    spec = deployment(SETTINGS, "image@sha256:1")["spec"]
    assert (spec["replicas"], spec["strategy"]) == (1, {"type": "Recreate"})
    other = replace(SETTINGS, models=[replace(SETTINGS.models[0], hold_seconds=901)])
    assert pod()["metadata"]["annotations"] != pod(other)["metadata"]["annotations"]


def test_it_talks_to_dns_the_gateway_and_the_api_server_only_and_is_asked_for_numbers_only() -> None:
    spec = network_policy(replace(SETTINGS, models=SETTINGS.models[:1]))["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    (inward,) = spec["ingress"]
    assert inward["ports"] == [{"protocol": "TCP", "port": 9090}]
    dns, api, gateway = spec["egress"]
    assert gateway["to"] == [{"podSelector": {"matchLabels": GATEWAY_LABELS}}]
    assert gateway["ports"] == [{"protocol": "TCP", "port": METRICS_PORT}]
    assert {port["port"] for port in dns["ports"]} == {53, 5353}
    assert "to" not in api, "with Cilium no network matches an API server that runs on a node"
    assert {port["port"] for port in api["ports"]} == set(GatewaySettings("http://x").api_server_ports)


def test_it_reaches_the_engines_where_their_queues_are_counted_and_is_found_by_keda() -> None:
    engines = network_policy(SETTINGS)["spec"]["egress"][-1]
    (to,) = engines["to"]
    assert to == {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ebbtide-models"}}}
    assert engines["ports"] == [{"protocol": "TCP", "port": 8000}]
    service_made = service(SETTINGS)
    assert service_made["spec"]["selector"] == LABELS
    assert engines in network_policy(TURNS)["spec"]["egress"], "and where it gives them their turns"
    url = f"http://{service_made['metadata']['name']}.{service_made['metadata']['namespace']}:{service_made['spec']['ports'][0]['port']}"
    assert waiting_url("ebbtide", "tiny") == f"{url}/waiting/tiny"
    assert load_url("ebbtide", "small") == f"{url}/load/small"


def test_no_selector_of_the_gateway_takes_its_pod_nor_the_other_way_round() -> None:
    assert pod()["metadata"]["labels"] == LABELS
    assert not GATEWAY_LABELS.items() <= LABELS.items()
    assert not LABELS.items() <= GATEWAY_LABELS.items()


def test_the_image_carries_the_program_the_pod_starts_and_the_pull_secret_is_the_places() -> None:
    copied = (IMAGES / "gateway" / "Dockerfile").read_text()
    assert f"COPY {COMMAND[-1]} " in copied
    assert (IMAGES / "gateway" / COMMAND[-1] / "__main__.py").is_file()
    assert pod()["spec"]["containers"][0]["command"] == COMMAND
    assert deployment(SETTINGS, "i", "pull")["spec"]["template"]["spec"]["imagePullSecrets"] == [{"name": "pull"}]
    assert yaml.safe_load(keeper_yaml(KeeperSettings())) == {
        "namespace": "ebbtide-models",
        "gatewayNamespace": "ebbtide",
        "recentSeconds": 10,
        "models": [],
    }


def kept(name: str, nodes: int = 1, queue_target: int | None = None, most: int = 1) -> SimpleNamespace:
    times = {"hold": SimpleNamespace(seconds=900), "cold_start": SimpleNamespace(seconds=600)}
    counts = {"nodes": nodes, "max": most, "queue_target": queue_target}
    return SimpleNamespace(name=name, pool="gpu-1xa10", sleep_ttl=None, **counts, **times)


def stack_of(*models: SimpleNamespace) -> StackConfig:
    pools = {"gpu-1xa10": SimpleNamespace(sharing=None)}
    by_name = {model.name: model for model in models}
    gateway = SimpleNamespace(groups={}, keys={})
    return cast("StackConfig", SimpleNamespace(models=by_name, pools=pools, gateway=gateway, database=DatabaseConfig()))


@pytest.mark.parametrize(
    ("kind", "growable"), [("local", False), ("existing", False), ("aws", True), ("azure", True), ("gcp", True)]
)
def test_a_node_may_come_where_the_place_makes_its_nodes(kind: str, growable: bool) -> None:
    assert keeper_settings(stack_of(kept("small")), kind).models == [
        KeptModel(name="small", hold_seconds=900, cold_start_seconds=600, growable=growable)
    ]


def test_short_requests_count_as_long_as_kedas_rhythm_for_so_many_models_wants() -> None:
    few, many = stack_of(kept("small")), stack_of(*(kept(f"m{number}") for number in range(500)))
    assert [keeper_settings(stack, "aws").recent_seconds for stack in (few, many)] == [10, 25]


def test_whose_queue_counts_is_told() -> None:
    stack = stack_of(kept("small"), kept("busy", queue_target=4))
    assert [model.counted for model in keeper_settings(stack, "aws").models] == [False, True]


def test_who_may_have_several_replicas_is_told() -> None:
    stack = stack_of(kept("small"), kept("busy", most=2))
    assert [model.scales_in for model in keeper_settings(stack, "aws").models] == [False, True]


def test_of_a_model_on_several_machines_is_told_how_many_and_its_replicas_go_from_the_last() -> None:
    stack = stack_of(kept("small"), kept("large", nodes=2, most=2))
    assert [(model.machines, model.scales_in) for model in keeper_settings(stack, "aws").models] == [
        (1, False),
        (2, False),
    ]
