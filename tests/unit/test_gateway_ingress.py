"""The gateway behind a load balancer that speaks HTTP and ends TLS."""

from __future__ import annotations

from typing import Any

from components.gateway.access import LABELS, PORT, network_policy
from components.gateway.config import ApiKey, GatewaySettings, Group
from components.gateway.gateway import Gateway, ingress_object
from components.gateway.workload import deployment, service
from components.platforms.contract import HttpIngress, Ingress, Registry
from tests.unit.test_gateway_manifests import _awaited

SETTINGS = GatewaySettings(interceptor_url="http://i", groups={"all": Group(["*"])}, keys=[ApiKey("k", "all")])
SPEC = {"apiVersion": "lb.example.com/v1", "kind": "BackendConfig", "spec": {"t": 1}}
BACKEND = {**SPEC, "metadata": {"name": "gateway"}}
GATE = {"lb.example.com/readiness-gate": "enabled"}
HTTP = HttpIngress("alb", "llm.example.com", {"lb.example.com/certificate": "c"}, None, (BACKEND,), GATE)


def built(ingress: Ingress) -> tuple[Any, dict[str, Any]]:
    def check(values: dict[str, Any]) -> Any:
        gateway = Gateway("gateway", SETTINGS, Registry("reg.example.com/ebbtide"), ingress)
        return gateway.endpoint.apply(lambda endpoint: values.update(endpoint=endpoint))

    return _awaited(check)


def test_the_ingress_sends_one_host_to_the_port_the_service_and_the_pods_name() -> None:
    spec = ingress_object(SETTINGS, HTTP)["spec"]
    (rule,) = spec["rules"]
    (path,) = rule["http"]["paths"]
    assert (spec["ingressClassName"], rule["host"], path["path"]) == ("alb", "llm.example.com", "/")
    front = service(SETTINGS, Ingress())
    assert path["backend"]["service"]["name"] == front["metadata"]["name"]
    assert path["backend"]["service"]["port"]["name"] in {port["name"] for port in front["spec"]["ports"]}
    (container,) = deployment(SETTINGS, "image")["spec"]["template"]["spec"]["containers"]
    assert {"name": "http", "containerPort": PORT} in container["ports"]


def test_tls_is_by_the_secret_where_there_is_one_and_else_by_the_places_annotations() -> None:
    assert "tls" not in ingress_object(SETTINGS, HTTP)["spec"]
    assert ingress_object(SETTINGS, HTTP)["metadata"]["annotations"] == {"lb.example.com/certificate": "c"}
    with_secret = ingress_object(SETTINGS, HttpIngress("nginx", "llm.example.com", tls_secret="cert"))
    assert with_secret["spec"]["tls"] == [{"hosts": ["llm.example.com"], "secretName": "cert"}]


def test_the_load_balancer_is_let_in_by_the_network_policy_on_the_pods_port() -> None:
    rule, metrics = network_policy(SETTINGS)["spec"]["ingress"]
    assert "from" in metrics, "what needs no key is not for a load balancer"
    assert rule == {"ports": [{"protocol": "TCP", "port": PORT}]}, "without `from`: it comes with any address"
    assert network_policy(SETTINGS)["spec"]["podSelector"]["matchLabels"] == LABELS


def test_the_places_objects_and_the_service_come_before_the_ingress_and_the_endpoint_is_https() -> None:
    recorder, values = built(Ingress(http=HTTP))
    names = list(recorder.made)
    assert values["endpoint"] == "https://llm.example.com"
    for earlier in ("gateway-service", "gateway-backendconfig-gateway"):
        assert names.index(earlier) < names.index("gateway-ingress")
    kind, backend = recorder.made["gateway-backendconfig-gateway"]
    assert kind == "kubernetes:lb.example.com/v1:BackendConfig"
    assert backend["metadata"] == {"name": "gateway", "namespace": "ebbtide"}
    assert backend["spec"] == {"t": 1}


def test_the_namespace_carries_what_the_places_controller_looks_for_beside_its_own_labels() -> None:
    def labels(ingress: Ingress) -> dict[str, str]:
        return dict(built(ingress)[0].made["gateway-namespace"][1]["metadata"]["labels"])

    assert labels(Ingress(http=HTTP)) == {**labels(Ingress()), **GATE}
    assert labels(Ingress())["pod-security.kubernetes.io/enforce"] == "restricted"


def test_a_place_without_a_load_balancer_gets_no_ingress() -> None:
    recorder, values = built(Ingress("NodePort", 30400, url="http://127.0.0.1:4000"))
    assert not [name for name, (kind, _) in recorder.made.items() if kind.endswith(":Ingress")]
    assert values["endpoint"] == "http://127.0.0.1:4000"
