"""How clients reach the gateway on Azure: private, with TLS, and patient enough for a cold start."""

from __future__ import annotations

from typing import Any

import pytest

from tests.program.test_azure_platform import SETTINGS, VAULT, Resources, resources_of

pytest.importorskip("pulumi_azure_native")

BALANCER = "service.beta.kubernetes.io/azure-load-balancer"


def values(resources: Resources) -> dict[str, Any]:
    return dict(resources.inputs("Release", "ingress")["values"])


@pytest.fixture(scope="module")
def place() -> Resources:
    return resources_of()


def test_the_load_balancer_is_internal_unless_asked(place: Resources) -> None:
    service = values(place)["service"]
    assert service["annotations"][f"{BALANCER}-internal"] == "true"
    assert "loadBalancerSourceRanges" not in service["spec"]


def test_a_public_load_balancer_lets_in_the_networks_named_alone() -> None:
    ingress = {**SETTINGS["ingress"], "public": True, "allowedNetworks": ["198.51.100.0/24"]}
    service = values(resources_of(ingress=ingress))["service"]
    assert f"{BALANCER}-internal" not in service["annotations"]
    assert service["spec"]["loadBalancerSourceRanges"] == ["198.51.100.0/24"]
    # an address translated on the way would make the list meaningless
    assert service["spec"]["externalTrafficPolicy"] == "Local"


def test_nothing_listens_without_tls(place: Resources) -> None:
    chart_values = values(place)
    assert chart_values["ports"]["web"]["expose"] == {"default": False}
    assert chart_values["tlsStore"]["default"]["defaultCertificate"]["secretName"] == "certificate"
    assert chart_values["api"]["dashboard"] is False
    http = place.platform.ingress.http
    assert http is not None
    assert http.annotations["traefik.ingress.kubernetes.io/router.entrypoints"] == "websecure"
    assert http.annotations["traefik.ingress.kubernetes.io/router.tls"] == "true"
    assert http.class_name == chart_values["ingressClass"]["name"]
    assert place.platform.ingress.url == "https://llm.example.com"


def test_every_hop_bears_a_cold_starts_silence_and_an_hours_stream(place: Resources) -> None:
    chart_values = values(place)
    assert chart_values["service"]["annotations"][f"{BALANCER}-tcp-idle-timeout"] == "30"
    longest = 900 + 3600  # the hold a stack tells by default, then an hour's stream
    transport = chart_values["ports"]["websecure"]["transport"]
    assert transport["respondingTimeouts"] == {"readTimeout": f"{longest}s", "writeTimeout": "0s"}
    # Azure's load balancer notices within ten seconds that a controller goes
    assert transport["lifeCycle"] == {"requestAcceptGraceTimeout": "30s", "graceTimeOut": f"{longest}s"}
    assert chart_values["deployment"]["terminationGracePeriodSeconds"] > longest + 30
    assert place.platform.ingress.idle_timeout_seconds == longest


def test_the_controller_reads_one_certificate_and_nothing_else(place: Resources) -> None:
    right = place.inputs("RoleAssignment", "ingress-certificate")
    assert right["scope"] == f"{VAULT}/secrets/llm"
    assert right["roleDefinitionId"].endswith("4633458b-17de-408a-b874-0445c86b69e6")
    trusted = place.inputs("FederatedIdentityCredential", "ingress-account")
    # the chart gives its service account the name that overrides its own
    chart_values = values(place)
    assert trusted["subject"] == f"system:serviceaccount:ebbtide-ingress:{chart_values['fullnameOverride']}"
    (provider,) = chart_values["extraObjects"]
    assert provider["spec"]["parameters"]["clientID"] == "ingress-identity-client"
    assert provider["spec"]["parameters"]["keyvaultName"] == "certs"


def test_the_driver_writes_the_secret_that_the_controller_serves(place: Resources) -> None:
    chart_values = values(place)
    (provider,) = chart_values["extraObjects"]
    (written,) = provider["spec"]["secretObjects"]
    assert written["secretName"] == chart_values["tlsStore"]["default"]["defaultCertificate"]["secretName"]
    assert {each["key"] for each in written["data"]} == {"tls.key", "tls.crt"}
    (volume,) = chart_values["deployment"]["additionalVolumes"]
    assert volume["csi"]["volumeAttributes"] == {"secretProviderClass": provider["metadata"]["name"]}
    (mount,) = chart_values["additionalVolumeMounts"]
    assert mount["name"] == volume["name"]
    add_on = place.cluster()["addonProfiles"]["azureKeyvaultSecretsProvider"]
    assert add_on["enabled"] is True
    assert add_on["config"]["enableSecretRotation"] == "true"


def test_without_an_ingress_there_is_no_way_in_and_no_add_on() -> None:
    resources = resources_of(ingress=None)
    assert resources.all("Release") == []
    assert resources.platform.ingress.url is None
    assert "azureKeyvaultSecretsProvider" not in (resources.cluster().get("addonProfiles") or {})
