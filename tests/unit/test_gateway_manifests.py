"""What the gateway component asks Kubernetes for, and how it is wired."""

from __future__ import annotations

import asyncio
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pulumi
import pytest
import yaml
from pulumi.runtime import MockCallArgs, MockResourceArgs, Mocks

from components.embedded_database import objects
from components.gateway.access import (
    LABELS,
    adapters_role,
    network_policy,
    nodes_role,
    reader_role,
    role_binding,
)
from components.gateway.config import (
    ApiKey,
    Database,
    GatewaySettings,
    Group,
    RoutedModel,
    UsageLimits,
    WakeGuard,
    gateway_yaml,
    keys_json,
)
from components.gateway.gateway import Gateway
from components.gateway.workload import deployment, disruption_budget, grace_seconds, service
from components.platforms.contract import Ingress, Registry
from components.pushed_image import build_arguments, content_tag
from components.wake_keeper.access import LABELS as KEEPER_LABELS
from tests.unit import gateway_kit

from ebbtide_gateway import keys as process_keys  # isort: skip
from ebbtide_gateway import settings as process_settings  # isort: skip
from ebbtide_gateway.limits import UsageLimits as ProcessLimits  # isort: skip

assert gateway_kit

GOOD = Path(__file__).parents[1] / "fixtures/stackfile/Pulumi.good.yaml"
GIVEN = hashlib.sha256(b"made elsewhere").hexdigest()
KEYS_OWN = UsageLimits(tokens_per_day=10**9, tokens_per_month=10**10, tokens_per_minute=5, concurrent_requests=4)
SETTINGS = GatewaySettings(
    interceptor_url="http://keda-add-ons-http-interceptor-proxy.keda:8080",
    models=[RoutedModel(name="small", host="small.ebbtide-models", gpus=1, hold_seconds=300, aliases=("tiny",))],
    groups={
        "everyone": Group(["*"]),
        "ci": Group(["small"], [], UsageLimits(max_wakes_per_day=3, requests_per_minute=60)),
    },
    keys=[ApiKey("demo", "everyone"), ApiKey("ci", "ci", GIVEN.upper(), KEYS_OWN)],
    guard=WakeGuard(2, 3, "refuse", 60),
)
REGISTRY = Registry("reg.example.com/ebbtide", base_images={"python": "reg.example.com/base@sha256:0"})


def pod(settings: GatewaySettings = SETTINGS) -> dict[str, Any]:
    return dict(deployment(settings, "image@sha256:1")["spec"]["template"])


def test_what_is_rendered_is_what_the_process_reads(tmp_path: Any) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(gateway_yaml(SETTINGS))
    read = process_settings.load(file)
    assert read.models[0].model_dump() == {
        "name": "small",
        "host": "small.ebbtide-models",
        "gpus": 1,
        "hold_seconds": 300,
        "aliases": ("tiny",),
        "usd_per_hour": None,
        "by_prefix": False,
        "most_waiting": None,
        "most_sequences": None,
        "task": "chat",
        "cold_start_seconds": None,
        "wake_seconds": {},
        "context_tokens": None,
        "longer": None,
        "asked_as": None,
        "adapters": (),
        "adapter": None,
        "hot_adapters": 0,
        "batch_at_once": 4,
        "takes_turns": False,
    }
    assert read.guard.model_dump() == {
        "max_gpus": 2,
        "max_instances": 3,
        "when_full": "refuse",
        "wait_limit_seconds": 60,
    }
    assert (read.interceptor_url, read.cluster.namespace) == (SETTINGS.interceptor_url, "ebbtide-models")
    file.write_text(gateway_yaml(replace(SETTINGS, guard=WakeGuard())))
    assert process_settings.load(file).guard.max_gpus is None


def test_the_price_of_a_models_node_reaches_the_process(tmp_path: Any) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text(gateway_yaml(replace(SETTINGS, models=[replace(SETTINGS.models[0], usd_per_hour=1.212)])))
    assert process_settings.load(file).models[0].usd_per_hour == 1.212


def test_prompts_meet_where_the_stack_says_so(tmp_path: Any) -> None:
    from infra.program.gateway import gateway_settings
    from infra.stackfile import load

    config = yaml.safe_load(GOOD.read_text())["config"]
    raw = {key.removeprefix("ebbtide:"): value for key, value in config.items() if key.startswith("ebbtide:")}
    for routing, by_prefix in (("prefix", True), ("fewestRequests", False)):
        for model in raw["models"].values():
            model["routing"] = routing
        settings = gateway_yaml(gateway_settings(load(raw, "stacks/Pulumi.x.yaml").config, "http://hop", "keda"))
        file = tmp_path / "gateway.yaml"
        file.write_text(settings)
        assert {model.by_prefix for model in process_settings.load(file).models} == {by_prefix}


def test_a_stacks_groups_and_prices_are_what_the_gateway_is_told() -> None:
    from infra.program.gateway import gateway_settings
    from infra.stackfile import load

    config = yaml.safe_load(GOOD.read_text())["config"]
    raw = {key.removeprefix("ebbtide:"): value for key, value in config.items() if key.startswith("ebbtide:")}
    raw["gateway"]["groups"]["everyone"] |= {"wake": [], "requestsPerMinute": 90}
    without = gateway_settings(load(raw, "stacks/Pulumi.x.yaml").config, "http://hop", "keda")
    assert without.groups == {"everyone": Group(("*",), (), UsageLimits(requests_per_minute=90))}
    assert [model.usd_per_hour for model in without.models] == [None], "a pool nobody knows the price of"
    raw["pools"]["gpu-8xa100"]["pricePerHour"] = 32.5
    priced = gateway_settings(load(raw, "stacks/Pulumi.x.yaml").config, "http://hop", "keda")
    assert [model.usd_per_hour for model in priced.models] == [32.5]


@pytest.mark.parametrize(
    ("environment", "gateway", "pods"),
    [("prod", {}, 2), ("dev", {}, 1), ("prod", {"replicas": 1}, 1), ("dev", {"replicas": 3}, 3)],
)
def test_in_production_the_gateway_has_two_pods_if_nothing_else_is_said(
    environment: str, gateway: dict[str, int], pods: int
) -> None:
    from infra.program.gateway import gateway_settings
    from infra.stackfile import load

    config = yaml.safe_load(GOOD.read_text())["config"]
    raw = {key.removeprefix("ebbtide:"): value for key, value in config.items() if key.startswith("ebbtide:")}
    raw |= {"environment": environment, "gateway": {**raw["gateway"], **gateway}}
    assert gateway_settings(load(raw, "stacks/Pulumi.x.yaml").config, "http://hop", "keda").replicas == pods


def test_what_stands_before_the_gateway_says_what_it_owes_and_a_stack_may_say_more() -> None:
    from infra.program.gateway import gateway_settings
    from infra.stackfile import load

    config = yaml.safe_load(GOOD.read_text())["config"]
    raw = {key.removeprefix("ebbtide:"): value for key, value in config.items() if key.startswith("ebbtide:")}

    def limits(*ingress: Ingress) -> dict[str, Any]:
        settings = gateway_settings(load(raw, "stacks/Pulumi.x.yaml").config, "http://hop", "keda", *ingress)
        return dict(yaml.safe_load(gateway_yaml(settings))["limits"])

    assert (limits()["leaveSeconds"], limits()["silenceSeconds"]) == (5, 10)
    balancer = Ingress(leave_seconds=90)
    assert (limits(balancer)["leaveSeconds"], limits(balancer)["silenceSeconds"]) == (90, 10)
    raw["gateway"] = {**raw["gateway"], "commentEvery": "30s"}
    assert (limits()["silenceSeconds"], limits(balancer)["silenceSeconds"]) == (30, 30)


def test_as_many_may_wait_for_a_model_as_all_its_replicas_take() -> None:
    from infra.program.gateway import gateway_settings
    from infra.stackfile import load

    config = yaml.safe_load(GOOD.read_text())["config"]
    raw = {key.removeprefix("ebbtide:"): value for key, value in config.items() if key.startswith("ebbtide:")}
    for model in raw["models"].values():
        model |= {"max": 3, "maxSequences": 8, "maxQueued": 4}
    settings = gateway_yaml(gateway_settings(load(raw, "stacks/Pulumi.x.yaml").config, "http://hop", "keda"))
    assert {model["mostWaiting"] for model in yaml.safe_load(settings)["models"]} == {36}


def test_what_a_request_may_ask_and_what_its_model_is_for_reach_the_process(tmp_path: Any) -> None:
    model = replace(SETTINGS.models[0], most_sequences=48, task="embed", cold_start_seconds=600)
    file = tmp_path / "gateway.yaml"
    file.write_text(gateway_yaml(replace(SETTINGS, models=[model])))
    read = process_settings.load(file).models[0]
    assert (read.most_sequences, read.task, read.cold_start_seconds) == (48, "embed", 600)


def test_no_request_may_ask_for_more_than_a_replica_takes_and_retries_know_the_cold_start() -> None:
    from infra.program.gateway import gateway_settings
    from infra.stackfile import load

    config = yaml.safe_load(GOOD.read_text())["config"]
    raw = {key.removeprefix("ebbtide:"): value for key, value in config.items() if key.startswith("ebbtide:")}
    for model in raw["models"].values():
        model |= {"max": 3, "maxSequences": 8, "maxQueued": 4, "coldStart": "11m"}
    settings = gateway_settings(load(raw, "stacks/Pulumi.x.yaml").config, "http://hop", "keda")
    assert {(model.most_sequences, model.cold_start_seconds) for model in settings.models} == {(12, 660)}


def test_the_pods_memory_is_bounded_above_what_bodies_may_take() -> None:
    def limit(settings: GatewaySettings) -> int:
        return int(pod(settings)["spec"]["containers"][0]["resources"]["limits"]["memory"].removesuffix("Mi"))

    limits = process_settings.Settings(interceptor_url="x").limits
    assert (limits.max_body_bytes, limits.max_held_bytes) == (SETTINGS.max_body_bytes, SETTINGS.max_held_bytes)
    assert limit(SETTINGS) == 256 + 512 + 16 * 32
    assert limit(replace(SETTINGS, max_held_bytes=2**30)) == limit(SETTINGS) + 512


def test_the_rendered_key_file_is_what_the_process_reads() -> None:
    demo = hashlib.sha256(b"sk-demo").hexdigest()
    ring = process_keys.KeyRing.parse(keys_json(SETTINGS, {"demo": demo, "ci": GIVEN.upper()}))
    demo_caller, ci_caller = ring.find(b"sk-demo"), ring.find(b"made elsewhere")
    assert demo_caller is not None
    assert ci_caller is not None
    assert (demo_caller.group, ci_caller.group) == ("everyone", "ci")
    assert (ci_caller.may_use("small"), ci_caller.may_use("big")) == (True, False)
    rights = ci_caller.rights
    limits = {name: each.limits for name, each in (("ci", rights), ("demo", demo_caller.rights), ("key", ci_caller))}
    assert limits == {
        "ci": ProcessLimits(max_wakes_per_day=3, requests_per_minute=60),
        "demo": None,
        "key": ProcessLimits(tokens_per_day=10**9, tokens_per_month=10**10, tokens_per_minute=5, concurrent_requests=4),
    }
    assert (rights.may_wake("small"), demo_caller.rights.may_wake("small")) == (False, True)


def test_a_key_of_an_unknown_group_is_refused_with_its_path() -> None:
    with pytest.raises(ValueError, match=r"gateway.keys.x: group is 'nope', allowed: ci, everyone"):
        replace(SETTINGS, keys=[ApiKey("x", "nope")])
    with pytest.raises(ValueError, match="replicas is 0"):
        replace(SETTINGS, replicas=0)


def test_it_may_read_what_tells_of_the_models_in_their_namespace_and_write_nothing() -> None:
    role = reader_role(SETTINGS)
    assert role["metadata"]["namespace"] == "ebbtide-models"
    assert role["rules"] == [
        {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "watch"]},
        {"apiGroups": ["keda.sh"], "resources": ["scaledobjects"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    (subject,) = role_binding(SETTINGS, reader_role(SETTINGS))["subjects"]
    assert subject == {"kind": "ServiceAccount", "name": "gateway", "namespace": "ebbtide"}


def test_it_may_write_the_one_list_of_loaded_adapters_where_a_model_takes_some() -> None:
    loading = replace(
        SETTINGS,
        models=[replace(SETTINGS.models[0], hot_adapters=2)],
        groups={**SETTINGS.groups, "everyone": Group(["*"], load_adapters=["small"])},
    )
    role = adapters_role(loading)
    assert role["metadata"] == {"name": "gateway-adapters", "namespace": "ebbtide"} != reader_role(loading)["metadata"]
    (rule,) = role["rules"]
    assert (rule["resources"], rule["resourceNames"]) == (["configmaps"], ["gateway-adapters"])
    assert rule["verbs"] == ["get", "list", "watch", "patch"]
    read = process_settings.Settings.model_validate(yaml.safe_load(gateway_yaml(loading)))
    assert read.models[0].hot_adapters == 2
    assert read.cluster.adapters is not None
    assert (read.cluster.adapters.namespace, read.cluster.adapters.name) == ("ebbtide", "gateway-adapters")
    ring = process_keys.KeyRing.parse(keys_json(loading, {"demo": "0" * 64, "ci": "1" * 64}))
    assert {group.name: group.load_adapters for group in ring.groups} == {"everyone": {"small"}, "ci": frozenset()}
    recorder, _ = _awaited(lambda _: Gateway("gateway", loading, REGISTRY, Ingress(url="http://x")).endpoint)
    assert {name for name in recorder.made if "adapters" in name} == {
        "gateway-adapters", "gateway-adapters-binding", "gateway-adapters-list",
    }  # fmt: skip
    assert "data" not in recorder.made["gateway-adapters-list"][1], "an up would take out what is loaded"


def test_the_pod_meets_the_restricted_standard_with_a_read_only_root() -> None:
    spec = pod()["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 10001
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


def test_it_never_lands_on_a_gpu_node() -> None:
    assert "tolerations" not in pod()["spec"]
    assert "nvidia" not in json.dumps(pod())


def test_the_secret_is_mounted_as_a_folder_so_that_a_swap_is_seen() -> None:
    mounts = {mount["name"]: mount for mount in pod()["spec"]["containers"][0]["volumeMounts"]}
    assert mounts["keys"] == {"name": "keys", "mountPath": "/etc/ebbtide/keys", "readOnly": True}


def test_a_changed_configuration_rolls_the_pods_and_a_changed_key_does_not() -> None:
    other = replace(SETTINGS, models=[replace(SETTINGS.models[0], hold_seconds=301)])
    assert pod()["metadata"]["annotations"] != pod(other)["metadata"]["annotations"]
    assert pod() == pod(replace(SETTINGS, keys=[ApiKey("demo", "everyone", "0" * 64)]))


def test_a_stack_with_groups_lets_the_guard_see_them_and_one_without_changes_nothing() -> None:
    groups = replace(SETTINGS, groups_of_pods=True)
    assert yaml.safe_load(gateway_yaml(groups))["cluster"] == {"namespace": SETTINGS.models_namespace, "groups": True}
    assert yaml.safe_load(gateway_yaml(SETTINGS))["cluster"] == {"namespace": SETTINGS.models_namespace}
    read = ["get", "list", "watch"]
    deployments = {"apiGroups": ["apps"], "resources": ["deployments"], "verbs": read}
    scaled = {"apiGroups": ["keda.sh"], "resources": ["scaledobjects"], "verbs": ["list", "watch"]}
    slices = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]}
    assert reader_role(SETTINGS)["rules"] == [deployments, scaled, slices]
    assert reader_role(groups)["rules"] == [
        deployments,
        {"apiGroups": ["leaderworkerset.x-k8s.io"], "resources": ["leaderworkersets"], "verbs": read},
        scaled,
        slices,
    ]


def test_a_pod_that_goes_away_has_time_to_finish_its_answers() -> None:
    assert grace_seconds(SETTINGS) == pod()["spec"]["terminationGracePeriodSeconds"] > 5 + SETTINGS.shutdown_seconds
    behind_a_balancer = replace(SETTINGS, leave_seconds=90)
    assert grace_seconds(behind_a_balancer) == grace_seconds(SETTINGS) + 85
    assert yaml.safe_load(gateway_yaml(behind_a_balancer))["limits"]["leaveSeconds"] == 90
    assert pod()["metadata"]["annotations"]["cluster-autoscaler.kubernetes.io/safe-to-evict"] == "false"
    limits = yaml.safe_load(gateway_yaml(SETTINGS))["limits"]
    assert limits["shutdownSeconds"] == SETTINGS.shutdown_seconds


def test_a_budget_exists_from_two_replicas_on() -> None:
    assert disruption_budget(SETTINGS) is None
    budget = disruption_budget(replace(SETTINGS, replicas=2))
    assert budget is not None
    assert budget["spec"]["maxUnavailable"] == 1


def test_the_service_is_what_the_place_says() -> None:
    built = service(SETTINGS, Ingress("NodePort", 30400, {"a": "b"}))
    assert built["spec"]["type"] == "NodePort"
    assert built["spec"]["ports"] == [{"name": "http", "port": 4000, "targetPort": "http", "nodePort": 30400}]
    assert built["metadata"]["annotations"] == {"a": "b"}
    assert built["spec"]["selector"] == pod()["metadata"]["labels"]


def test_it_talks_to_dns_the_interceptor_the_models_and_the_api_server_only() -> None:
    spec = network_policy(SETTINGS)["spec"]
    assert spec["policyTypes"] == ["Ingress", "Egress"]
    front, metrics = spec["ingress"]
    assert front == {"ports": [{"protocol": "TCP", "port": 4000}]}
    assert metrics == {"from": [{"namespaceSelector": {}}], "ports": [{"protocol": "TCP", "port": 9090}]}
    dns, interceptor, models, api = spec["egress"]
    assert {port["port"] for port in dns["ports"]} == {53, 5353}
    assert interceptor["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "keda"}}}]
    assert interceptor["ports"] == [{"protocol": "TCP", "port": 8080}]
    assert models["to"] == [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ebbtide-models"}}}]
    assert models["ports"] == [{"protocol": "TCP", "port": 8000}]
    assert "to" not in api, "with Cilium no network matches an API server that runs on a node"
    assert 80 not in {port["port"] for port in api["ports"]}


def test_where_wakes_have_a_cap_the_gateway_asks_the_keeper_and_the_keeper_remembers() -> None:
    from infra.program.gateway import gateway_settings, keeper_settings
    from infra.stackfile import load

    config = yaml.safe_load(GOOD.read_text())["config"]
    raw = {key.removeprefix("ebbtide:"): value for key, value in config.items() if key.startswith("ebbtide:")}
    free = load(raw, "stacks/Pulumi.x.yaml").config
    raw["gateway"]["groups"]["everyone"]["maxWakesPerDay"] = 5
    capped = load(raw, "stacks/Pulumi.x.yaml").config
    without_cap, asked = (gateway_settings(stack, "http://hop", "keda") for stack in (free, capped))
    assert (without_cap.keeper, keeper_settings(free, "local").remembers_wakes) == (None, False)
    del raw["gateway"]["groups"]["everyone"]["maxWakesPerDay"]
    raw["gateway"]["groups"]["everyone"]["requestsPerMinute"] = 60
    for replicas, hears in ((1, False), (2, True)):
        raw["gateway"]["replicas"] = replicas
        limited = load(raw, "stacks/Pulumi.x.yaml").config
        assert (gateway_settings(limited, "http://hop", "keda").keeper is not None) is hears
        assert not keeper_settings(limited, "local").remembers_wakes
    assert keeper_settings(capped, "local").remembers_wakes
    assert yaml.safe_load(gateway_yaml(asked))["keeperUrl"] == "http://wake-keeper.ebbtide:9090"
    keeper = {"to": [{"podSelector": {"matchLabels": KEEPER_LABELS}}], "ports": [{"protocol": "TCP", "port": 9090}]}
    assert network_policy(asked)["spec"]["egress"] == [*network_policy(without_cap)["spec"]["egress"], keeper]


def test_the_base_image_is_the_places_own_where_it_has_one() -> None:
    assert build_arguments(REGISTRY.base_images) == {"BASE": "reg.example.com/base@sha256:0"}
    assert build_arguments({}) == {}


def test_the_tag_follows_whatever_goes_into_the_image(tmp_path: Any) -> None:
    """A registry with immutable tags refuses a second push under the first one's tag."""
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text("FROM a")
    before = content_tag(tmp_path, dockerfile, {"BASE": "a"})
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "x.pyc").write_text("x")
    assert content_tag(tmp_path, dockerfile, {"BASE": "a"}) == before
    assert content_tag(tmp_path, dockerfile, {"BASE": "b"}) != before
    dockerfile.write_text("FROM b")
    assert content_tag(tmp_path, dockerfile, {"BASE": "a"}) != before


class _Recorder(Mocks):
    def __init__(self) -> None:
        self.made: dict[str, tuple[str, dict[str, Any]]] = {}

    def new_resource(self, args: MockResourceArgs) -> tuple[str, dict[str, Any]]:
        self.made[args.name] = (args.typ, args.inputs)
        outputs = dict(args.inputs)
        if args.typ.endswith("RandomPassword"):
            outputs["result"] = "letters"
        if args.typ == "docker-build:index:Image":
            outputs["ref"] = "reg.example.com/ebbtide/gateway@sha256:2"
        return f"{args.name}-id", outputs

    def call(self, _: MockCallArgs) -> dict[str, Any]:
        return {}


def _awaited(check: Any) -> tuple[_Recorder, dict[str, Any]]:
    recorder, values = _Recorder(), {}
    asyncio.set_event_loop(asyncio.new_event_loop())
    pulumi.runtime.set_mocks(recorder, preview=False)

    @pulumi.runtime.test
    def run() -> Any:
        return check(values)

    run()
    return recorder, values


def test_the_component_makes_keys_that_have_no_digest_and_stores_only_digests() -> None:
    def check(values: dict[str, Any]) -> Any:
        gateway = Gateway("gateway", SETTINGS, REGISTRY, Ingress("NodePort", 30400, url="http://127.0.0.1:4000"))
        key = gateway.api_keys["demo"]
        secret = pulumi.Output.from_input(key.is_secret())
        outputs = (gateway.endpoint, gateway.image, pulumi.Output.unsecret(key), secret)
        return pulumi.Output.all(*outputs).apply(lambda got: values.update(found=got, names=set(gateway.api_keys)))

    recorder, values = _awaited(check)
    digest = "reg.example.com/ebbtide/gateway@sha256:2"
    assert values["found"] == ["http://127.0.0.1:4000", digest, "sk-letters", True]
    assert values["names"] == {"demo"}
    kinds = sorted(kind.rsplit(":", 1)[1] for kind, _ in recorder.made.values())
    assert kinds == sorted(
        [
            *("ConfigMap", "Deployment", "Gateway", "Image", "Namespace", "NetworkPolicy", "RandomPassword"),
            *("Role", "RoleBinding", "Secret", "Service", "ServiceAccount"),
        ]
    )
    stored = json.dumps(recorder.made["gateway-keys"][1])
    assert "sk-letters" not in stored
    assert hashlib.sha256(b"sk-letters").hexdigest() in stored
    assert GIVEN in stored
    container = recorder.made["gateway-deployment"][1]["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == digest
    location = recorder.made["gateway-image"][1]["context"]["location"]
    assert not location.startswith("/"), "an absolute path would differ from machine to machine"


def test_the_plan_says_how_long_a_wake_takes_until_there_was_one() -> None:
    from ebbtide_kube.wake_progress import PHASES

    from infra.planner.judgement import judge_with_records
    from infra.program.gateway import gateway_settings
    from infra.program.serving import wake_estimates
    from infra.stackfile.load import read_values

    config = yaml.safe_load(GOOD.read_text())["config"]
    raw = {key.removeprefix("ebbtide:"): value for key, value in config.items() if key.startswith("ebbtide:")}
    plan = judge_with_records(read_values(raw, "stacks/Pulumi.x.yaml"), GOOD.parent).plan
    assert plan is not None
    stack, estimates = plan.stack, wake_estimates(plan)
    assert estimates.keys() == stack.models.keys()
    settings = gateway_yaml(gateway_settings(stack, "http://hop", "keda", wakes=estimates))
    for model in process_settings.Settings.model_validate(yaml.safe_load(settings)).models:
        assert dict(model.wake_seconds) == estimates[model.name]
        assert set(model.wake_seconds) <= set(PHASES)
        assert model.wake_seconds["engine"] > 0


def test_a_stacks_own_database_is_reached_where_it_is_named_and_nowhere_else(tmp_path: Path) -> None:
    to = [{"ipBlock": {"cidr": "10.40.0.0/16"}}]
    settings = replace(SETTINGS, database=Database(secret="accounts", to=to, port=5433))
    mounted = deployment(settings, "image@sha256:1")["spec"]["template"]["spec"]
    secret = {"secretName": "accounts", "defaultMode": 0o440, "optional": True}
    assert {"name": "database", "secret": secret} in mounted["volumes"]
    ways = network_policy(settings)["spec"]["egress"]
    assert [way for way in ways if way not in network_policy(SETTINGS)["spec"]["egress"]] == [
        {"to": to, "ports": [{"protocol": "TCP", "port": 5433}]}
    ]
    pods = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}
    assert [rule for rule in reader_role(settings)["rules"] if rule not in reader_role(SETTINGS)["rules"]] == [pods]
    (rule,) = nodes_role(settings)["rules"]
    assert (rule["resources"], rule["verbs"]) == (["nodes"], ["list", "watch"])
    assert role_binding(settings, nodes_role(settings))["roleRef"]["kind"] == "ClusterRole"
    file = tmp_path / "gateway.yaml"
    file.write_text(gateway_yaml(settings))
    read = process_settings.load(file).database
    assert read is not None
    assert (str(read.folder), read.tls) == ("/etc/ebbtide/database", "verify")
    assert "database" not in gateway_yaml(SETTINGS)


def test_the_embedded_database_is_confined_and_lets_the_gateway_in_alone() -> None:
    settings = objects.DatabaseSettings(namespace="ebbtide", storage_bytes=2**30)
    pod = objects.deployment(settings)["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert (pod["securityContext"]["runAsNonRoot"], pod["automountServiceAccountToken"]) == (True, False)
    assert container["securityContext"]["readOnlyRootFilesystem"]
    assert "uri" not in str(pod["volumes"]), "it is shown its password alone"
    policy = objects.network_policy(settings, LABELS)["spec"]
    assert policy["podSelector"]["matchLabels"] == objects.deployment(settings)["spec"]["selector"]["matchLabels"]
    assert policy["ingress"] == [
        {"from": [{"podSelector": {"matchLabels": LABELS}}], "ports": [{"protocol": "TCP", "port": 5432}]}
    ]
    assert (policy["policyTypes"], policy.get("egress")) == (["Ingress", "Egress"], None)
    assert objects.uri(settings, "pw") == "postgresql://ebbtide:pw@database.ebbtide:5432/ebbtide"
