"""The engine's settings, chart values and rendered manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.idle_scaling.addresses import interceptor_url, scaler_address
from components.idle_scaling.helm_values import http_add_on_values, keda_values
from components.idle_scaling.manifest_patches import patched, without_descriptions
from components.idle_scaling.manifest_set import in_stages, read_documents, resource_name, type_token
from components.idle_scaling.settings import ROLES, EngineSettings, one_image
from scripts.chart_values import records, wrong_values

IMAGE = "registry.example/keda@sha256:" + "a" * 64
DEPLOYMENTS = {
    "keda-operator": "/keda",
    "keda-metrics-apiserver": "/keda-adapter",
    "keda-admission": "/keda-admission-webhooks",
    "keda-add-ons-http-interceptor": "/kedahttp-interceptor",
    "keda-add-ons-http-scaler": "/kedahttp-scaler",
    "keda-add-ons-http-operator": "/kedahttp-operator",
}


def settings(**changes: Any) -> EngineSettings:
    values = {"install": "manifests", "manifests": Path("unused"), "programs": one_image(IMAGE), **changes}
    return EngineSettings(**values)


def deployment(name: str) -> dict[str, Any]:
    container = {
        "name": "main",
        "image": "ko://somewhere",
        "env": [{"name": "KEDA_HTTP_PROXY_PORT", "value": "8080"}],
        "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "1000m", "memory": "1000Mi"}},
        "livenessProbe": {"grpc": {"port": 9090, "service": "liveness"}, "periodSeconds": 5},
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "namespace": "keda",
            "labels": {"app.kubernetes.io/managed-by": "kustomize", "app.kubernetes.io/version": "HEAD"},
        },
        "spec": {"replicas": 1, "template": {"spec": {"containers": [container]}}},
    }


def rendered() -> list[dict[str, Any]]:
    """The shape of what the modules render, with one document of each kind that is treated in its own way."""
    service = {"service": {"name": "webhooks", "namespace": "keda", "path": "/x"}}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "keda", "labels": {}}},
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "keda-auth-reader", "namespace": "kube-system"},
            "subjects": [{"kind": "ServiceAccount", "name": "keda-operator", "namespace": "keda"}],
        },
        *(deployment(name) for name in DEPLOYMENTS),
        {
            "apiVersion": "keda.sh/v1alpha1",
            "kind": "ScaledObject",
            "metadata": {"name": "keda-add-ons-http-interceptor", "namespace": "keda"},
        },
        {
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "keda-admission"},
            "webhooks": [{"clientConfig": service}],
        },
    ]


def by_name(documents: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (document,) = [d for d in documents if d["kind"] == kind and d["metadata"]["name"] == name]
    return document


def container_of(documents: list[dict[str, Any]], name: str) -> dict[str, Any]:
    (container,) = by_name(documents, "Deployment", name)["spec"]["template"]["spec"]["containers"]
    return container


@pytest.mark.parametrize(("name", "command"), DEPLOYMENTS.items())
def test_every_program_comes_from_the_one_image_by_digest(name: str, command: str) -> None:
    container = container_of(patched(rendered(), settings()), name)
    assert container["image"] == IMAGE
    assert container["command"] == [command]
    assert container["imagePullPolicy"] == "IfNotPresent"


def test_without_programs_the_published_images_of_the_pinned_versions_run() -> None:
    documents = patched(rendered(), settings(programs={}))
    assert container_of(documents, "keda-operator")["image"] == "ghcr.io/kedacore/keda:2.20.2"
    interceptor = container_of(documents, "keda-add-ons-http-interceptor")
    assert interceptor["image"] == "ghcr.io/kedacore/http-add-on-interceptor:0.15.0"
    assert "command" not in interceptor


def test_the_interceptor_holds_long_and_keeps_what_it_had() -> None:
    documents = patched(rendered(), settings(drain_seconds=420, interceptor_memory="1Gi"))
    container = container_of(documents, "keda-add-ons-http-interceptor")
    environment = {entry["name"]: entry["value"] for entry in container["env"]}
    assert environment["KEDA_HTTP_PROXY_PORT"] == "8080"
    assert environment["KEDA_HTTP_RESPONSE_HEADER_TIMEOUT"] == "0s"
    assert environment["KEDA_HTTP_READINESS_TIMEOUT"] == "900s"
    assert environment["KEDA_HTTP_DRAIN_TIMEOUT"] == "420s"
    assert environment["KEDA_HTTP_MAX_IDLE_CONNS_PER_HOST"] == "-1"
    assert container["resources"]["limits"] == {"memory": "1Gi"}


def test_a_scaler_that_starts_before_its_interceptor_has_two_minutes() -> None:
    container = container_of(patched(rendered(), settings()), "keda-add-ons-http-scaler")
    startup = container["startupProbe"]
    assert startup["grpc"] == container["livenessProbe"]["grpc"]
    assert startup["periodSeconds"] * startup["failureThreshold"] == 120


def test_the_interceptor_is_never_killed_before_it_has_drained() -> None:
    chosen = settings(drain_seconds=420, shutdown_delay_seconds=5)
    pod = by_name(patched(rendered(), chosen), "Deployment", "keda-add-ons-http-interceptor")["spec"]["template"]
    assert pod["spec"]["terminationGracePeriodSeconds"] > 425


def test_nothing_else_writes_the_interceptors_replicas() -> None:
    documents = patched(rendered(), settings(interceptor_replicas=2))
    assert not [d for d in documents if d["kind"] == "ScaledObject"]
    assert by_name(documents, "Deployment", "keda-add-ons-http-interceptor")["spec"]["replicas"] == 2


def test_two_interceptors_get_a_disruption_budget_and_one_gets_none() -> None:
    assert [d for d in patched(rendered(), settings(interceptor_replicas=2)) if d["kind"] == "PodDisruptionBudget"]
    assert not [d for d in patched(rendered(), settings()) if d["kind"] == "PodDisruptionBudget"]


def test_the_engines_namespace_is_restricted_and_its_pods_fit_in() -> None:
    documents = patched(rendered(), settings())
    labels = by_name(documents, "Namespace", "keda")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    for name in DEPLOYMENTS:
        pod = by_name(documents, "Deployment", name)["spec"]["template"]["spec"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}


def test_the_rendered_documents_are_left_as_they_were() -> None:
    documents = rendered()
    patched(documents, settings())
    assert documents == rendered()


def test_another_namespace_is_followed_everywhere_but_in_kube_system() -> None:
    documents = patched(rendered(), settings(namespace="scaling"))
    binding = by_name(documents, "RoleBinding", "keda-auth-reader")
    assert binding["metadata"]["namespace"] == "kube-system"
    assert binding["subjects"][0]["namespace"] == "scaling"
    webhook = by_name(documents, "ValidatingWebhookConfiguration", "keda-admission")["webhooks"][0]
    assert webhook["clientConfig"]["service"]["namespace"] == "scaling"
    assert by_name(documents, "Namespace", "scaling")


def test_manifests_of_another_version_are_refused() -> None:
    missing = [d for d in rendered() if d["metadata"]["name"] != "keda-admission"]
    with pytest.raises(ValueError, match=r"render them from KEDA 2\.20\.2"):
        patched(missing, settings())


def test_a_schema_loses_its_prose_but_not_a_property_called_description() -> None:
    schema = {
        "description": "prose",
        "properties": {"description": {"type": "string", "description": "prose"}},
        "x-kubernetes-validations": [{"rule": "has(self.a)", "message": "kept"}],
    }
    assert without_descriptions(schema) == {
        "properties": {"description": {"type": "string"}},
        "x-kubernetes-validations": [{"rule": "has(self.a)", "message": "kept"}],
    }


def test_core_kinds_get_the_providers_spelling_of_their_group() -> None:
    assert type_token({"apiVersion": "v1", "kind": "Service"}) == "kubernetes:core/v1:Service"
    assert type_token({"apiVersion": "apps/v1", "kind": "Deployment"}) == "kubernetes:apps/v1:Deployment"


def test_servers_are_registered_after_they_run_and_roles_exist_before() -> None:
    order = [{d["kind"] for d in stage} for stage in in_stages(patched(rendered(), settings()))]
    assert order == [{"Namespace"}, {"RoleBinding"}, {"Deployment"}, {"ValidatingWebhookConfiguration"}]


def test_a_kind_without_a_place_in_the_order_is_refused() -> None:
    with pytest.raises(ValueError, match=r"hold a Secret \(keda/s\)"):
        in_stages([{"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "keda"}}])


def test_a_name_says_its_namespace() -> None:
    assert resource_name({"metadata": {"name": "a", "namespace": "b"}}) == "b/a"
    assert resource_name({"metadata": {"name": "a"}}) == "a"


def test_empty_documents_are_skipped(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("---\nkind: A\n---\n---\nkind: B\n")
    assert [d["kind"] for d in read_documents([file])] == ["A", "B"]


def test_the_chart_runs_a_fixed_number_of_interceptors_that_hold_long() -> None:
    values = http_add_on_values(EngineSettings(interceptor_replicas=2, drain_seconds=420))["interceptor"]
    assert values["replicas"] == {"min": 2, "max": 2}
    assert values["responseHeaderTimeout"] == "0s"
    assert values["drainTimeout"] == "420s"
    assert values["terminationGracePeriodSeconds"] == 435
    assert values["resources"]["limits"]["memory"] == "512Mi"
    assert values["pdb"]["enabled"] is True


def test_how_often_kedas_scaler_tells_is_the_same_by_chart_and_by_manifests() -> None:
    assert http_add_on_values(EngineSettings(push_milliseconds=1000))["scaler"]["streamInterval"] == 1000
    container = container_of(patched(rendered(), settings(push_milliseconds=1000)), "keda-add-ons-http-scaler")
    assert {"name": "KEDA_HTTP_SCALER_STREAM_INTERVAL_MS", "value": "1000"} in container["env"]
    assert {"name": "KEDA_HTTP_PROXY_PORT", "value": "8080"} in container["env"]


def test_the_add_ons_chart_gets_the_restricted_contexts_it_lacks() -> None:
    contexts = http_add_on_values(EngineSettings())["podSecurityContext"]
    assert set(contexts) == {"operator", "scaler", "interceptor"}
    assert all(c["runAsNonRoot"] and c["seccompProfile"] for c in contexts.values())


def test_a_node_selector_reaches_both_charts() -> None:
    chosen = EngineSettings(node_selector={"pool": "system"})
    assert keda_values(chosen)["nodeSelector"] == {"pool": "system"}
    assert http_add_on_values(chosen)["interceptor"]["nodeSelector"] == {"pool": "system"}
    assert wrong_values(records()["keda"], keda_values(chosen)) == []
    assert wrong_values(records()["keda-add-ons-http"], http_add_on_values(chosen)) == []


def test_impossible_settings_are_all_named_at_once() -> None:
    with pytest.raises(ValueError, match="idle-scaling engine") as caught:
        EngineSettings(install="manifests", interceptor_replicas=0, readiness_seconds=0, drain_seconds=0)
    for part in ("interceptor_replicas is 0", "readiness_seconds is 0", "drain_seconds is 0", "without a folder"):
        assert part in str(caught.value)


def test_own_programs_with_a_chart_are_refused() -> None:
    with pytest.raises(ValueError, match="uses published images"):
        EngineSettings(install="helm", programs=one_image(IMAGE))


def test_one_image_serves_every_role() -> None:
    assert set(one_image(IMAGE)) == set(ROLES)


def test_addresses_are_those_of_the_engines_services() -> None:
    assert interceptor_url() == "http://keda-add-ons-http-interceptor-proxy.keda:8080"
    assert scaler_address("scaling") == "keda-add-ons-http-external-scaler.scaling:9090"
