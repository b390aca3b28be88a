"""What of a stack can be reached from outside, and where its keys are and are not."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
import yaml

from tests.program.stack_kit import LETTERS, Graph, graph_of, run_local, secret_letters, sections, strings


@pytest.fixture(params=["local", "onprem"])
def stack(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def graph(stack: str) -> Graph:
    return graph_of(stack)


def test_only_the_gateway_has_a_door_and_no_service_asks_for_a_public_address(graph: Graph) -> None:
    doors = {r.object_name: r.inputs["spec"]["type"] for r in graph.of("Service")}
    assert doors.pop("gateway") == "NodePort"
    assert set(doors.values()) == {"ClusterIP"}
    assert not graph.of("Ingress")
    assert not [r for r in graph.of("Service") if "externalIPs" in r.inputs["spec"]]


def test_the_local_gateways_node_port_is_the_one_the_machines_own_door_leads_to() -> None:
    (port,) = graph_of("local").one("Service", "gateway").inputs["spec"]["ports"]
    assert (port["nodePort"], port["port"]) == (30400, 4000)
    assert graph_of("local").exports["endpoint"] == ("http://127.0.0.1:4000", False)


def test_a_models_port_opens_to_interceptor_and_gateway_alone_and_the_model_talks_to_nobody(
    graph: Graph,
) -> None:
    gateway = graph.one("Deployment", "gateway").inputs["spec"]["template"]["metadata"]["labels"]
    for model in graph.models():
        spec = graph.one("NetworkPolicy", model.object_name).inputs["spec"]
        assert set(spec["policyTypes"]) == {"Ingress", "Egress"}
        assert not spec.get("egress")
        (rule,) = spec["ingress"]
        assert [port["port"] for port in rule["ports"]] == [8000]
        namespaces = [peer["namespaceSelector"]["matchLabels"]["kubernetes.io/metadata.name"] for peer in rule["from"]]
        assert namespaces == ["keda", "ebbtide"]
        assert all(peer["podSelector"]["matchLabels"] for peer in rule["from"])
        assert rule["from"][1]["podSelector"]["matchLabels"].items() <= gateway.items()
        assert model.inputs["spec"]["template"]["metadata"]["labels"].items() >= (
            spec["podSelector"]["matchLabels"].items()
        )
    closed = graph.one("NetworkPolicy", "default-deny").inputs["spec"]
    assert (closed["podSelector"], closed.get("ingress"), closed.get("egress")) == ({}, None, None)


def test_each_declared_key_is_made_by_the_stack_and_is_a_secret_output(graph: Graph, stack: str) -> None:
    declared = set(sections(stack)["ebbtide:gateway"]["keys"])
    passwords = graph.of("RandomPassword")
    assert {r.name.removeprefix("gateway-key-") for r in passwords} == declared
    assert all("result" in r.secret_outputs and r.inputs["length"] >= 32 for r in passwords)
    keys, secret = graph.exports["api_keys"]
    assert secret
    assert keys == {name: f"sk-{secret_letters(f'gateway-key-{name}')}" for name in declared}


def test_what_is_exported_in_clear_is_no_secret(graph: Graph) -> None:
    assert {name for name, (_, secret) in graph.exports.items() if not secret} == {"endpoint", "images", "models"}


def test_the_keys_secret_is_marked_as_one_and_holds_digests_only(graph: Graph) -> None:
    (keys,) = graph.of("Secret")
    assert keys.secrets == {"stringData"}
    assert {"data", "stringData"} <= keys.secret_outputs
    stored = json.loads(keys.inputs["stringData"]["keys.json"])["keys"]
    assert stored
    for each in stored:
        key = f"sk-{secret_letters('gateway-key-' + each['name'])}"
        assert each["sha256"] == hashlib.sha256(key.encode()).hexdigest()


def test_no_key_is_in_any_resource(graph: Graph) -> None:
    for resource in graph.recorded:
        assert not [text for text in strings(resource.inputs) if LETTERS in text], resource.urn


def test_no_digest_of_a_key_is_outside_the_secret(graph: Graph) -> None:
    (keys,) = graph.of("Secret")
    digests = [each["sha256"] for each in json.loads(keys.inputs["stringData"]["keys.json"])["keys"]]
    for resource in graph.recorded:
        if resource is not keys:
            assert not [t for t in strings(resource.inputs) for d in digests if d in t], resource.urn


def test_a_key_made_elsewhere_is_known_by_its_digest_and_no_password_is_made_for_it(tmp_path: Path) -> None:
    digest = hashlib.sha256(b"made elsewhere").hexdigest()
    config = sections("local")
    config["ebbtide:gateway"]["keys"] = {"ci": {"group": "small-only", "sha256": digest}}
    graph = run_local(config, tmp_path)
    assert not graph.of("RandomPassword")
    (stored,) = json.loads(graph.one("Secret").inputs["stringData"]["keys.json"])["keys"]
    assert stored == {"name": "ci", "sha256": digest, "group": "small-only"}
    assert graph.exports["api_keys"] == ({}, True)


def test_the_gateway_sends_each_model_to_the_interceptor_under_the_host_its_route_knows(graph: Graph) -> None:
    document = yaml.safe_load(graph.one("ConfigMap", "gateway").inputs["data"]["gateway.yaml"])
    assert document["interceptorUrl"] == "http://keda-add-ons-http-interceptor-proxy.keda:8080"
    hosts = {r.object_name: r.inputs["spec"]["rules"] for r in graph.of("InterceptorRoute")}
    assert {m["name"]: [{"hosts": [m["host"]]}] for m in document["models"]} == hosts
    for model in document["models"]:
        readiness = graph.one("InterceptorRoute", model["name"]).inputs["spec"]["timeouts"]["readiness"]
        assert readiness == f"{model['holdSeconds']}s", "the hop behind must not give up before the one in front"
        assert readiness != "0s", "an abandoned request would hold a GPU for ever"
