"""The configuration of GKE's load balancer, as pure objects: time-outs, certificate, allow list."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from components.platforms.contract import About, HttpIngress, Ingress
from components.platforms.gcp.settings import MANAGED, IngressSettings

NAME = "gateway"
READY_PATH = "/health/readiness"
"""The gateway's own readiness check; the load balancer asks its pods directly and takes 200 for healthy."""
LONGEST_STREAM_SECONDS = 3600
LONGEST_DRAIN_SECONDS = 3600
LEAVE_SECONDS = 90
"""How long an endpoint that is being taken out may still get new requests: Google asks for 60 s or more. GKE itself
keeps a new pod from being ready until its endpoint is healthy. Source: GKE documentation, Container-native load
balancing; kubernetes/ingress-gce 1072, 1718."""
_CLASS = "kubernetes.io/ingress.class"


def timeout_seconds(about: About) -> int:
    """Return the longest hold plus the longest stream: the load balancer counts from the request to the end of the
    answer, even while bytes flow. Source: Cloud Load Balancing documentation, Backend service timeout."""
    return about.longest_silence_seconds + LONGEST_STREAM_SECONDS


def backend_config(about: About, security_policy: str | None) -> Mapping[str, Any]:
    """Build the load balancer's settings for the gateway's Service. Source: GKE documentation, Ingress configuration;
    kubernetes/ingress-gce, pkg/apis/backendconfig/v1."""
    spec: dict[str, Any] = {
        "timeoutSec": timeout_seconds(about),
        "connectionDraining": {"drainingTimeoutSec": min(timeout_seconds(about), LONGEST_DRAIN_SECONDS)},
        "healthCheck": {"type": "HTTP", "requestPath": READY_PATH, "checkIntervalSec": 10, "timeoutSec": 5},
        "logging": {"enable": True, "sampleRate": 1.0},
    }
    if security_policy is not None:
        spec["securityPolicy"] = {"name": security_policy}
    return {"apiVersion": "cloud.google.com/v1", "kind": "BackendConfig", "metadata": {"name": NAME}, "spec": spec}


def managed_certificate(host: str) -> Mapping[str, Any]:
    """Build a certificate that Google makes and renews once the name points at the public address, which takes up to an
    hour."""
    return {
        "apiVersion": "networking.gke.io/v1",
        "kind": "ManagedCertificate",
        "metadata": {"name": NAME},
        "spec": {"domains": [host]},
    }


def frontend_config(ssl_policy: str) -> Mapping[str, Any]:
    """Set TLS versions and ciphers, on public load balancers only."""
    return {
        "apiVersion": "networking.gke.io/v1beta1",
        "kind": "FrontendConfig",
        "metadata": {"name": NAME},
        "spec": {"sslPolicy": ssl_policy},
    }


def service_annotations() -> Mapping[str, str]:
    """Let pods be reached directly (network endpoint groups), as the internal load balancer must."""
    return {
        "cloud.google.com/neg": json.dumps({"ingress": True}),
        "cloud.google.com/backend-config": json.dumps({"default": NAME}),
    }


def ingress(
    settings: IngressSettings, about: About, address: str, security_policy: str | None, ssl_policy: str | None
) -> Ingress:
    """Build the contract's ingress. GKE goes by the annotation and has no IngressClass, and Kubernetes takes an
    annotation or a class, not both: ``class_name`` is empty. Source: GKE documentation, Ingress for Application Load
    Balancers."""
    annotations = {_CLASS: "gce" if settings.public else "gce-internal", "kubernetes.io/ingress.allow-http": "false"}
    scope = "global" if settings.public else "regional"
    annotations[f"kubernetes.io/ingress.{scope}-static-ip-name"] = address
    objects = [backend_config(about, security_policy)]
    if settings.certificate is not None and settings.certificate != MANAGED:
        annotations["ingress.gcp.kubernetes.io/pre-shared-cert"] = settings.certificate
    elif settings.public:
        annotations["networking.gke.io/managed-certificates"] = NAME
        objects.append(managed_certificate(settings.host))
    if ssl_policy is not None:
        annotations["networking.gke.io/v1beta1.FrontendConfig"] = NAME
        objects.append(frontend_config(ssl_policy))
    return Ingress(
        service_type="ClusterIP",
        annotations=service_annotations(),
        url=f"https://{settings.host}",
        idle_timeout_seconds=timeout_seconds(about),
        leave_seconds=LEAVE_SECONDS,
        http=HttpIngress(class_name="", host=settings.host, annotations=annotations, objects=tuple(objects)),
    )
