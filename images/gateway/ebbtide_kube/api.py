"""Kubernetes API as a pod of the cluster reaches it: the client, its lists, how objects name their model."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

MODEL_LABEL = "ebbtide.dev/model"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


def deployments(namespace: str) -> str:
    """Return the path of the API's list of Deployments."""
    return f"/apis/apps/v1/namespaces/{namespace}/deployments"


def groups(namespace: str) -> str:
    """Return the path of the API's list of LeaderWorkerSets."""
    return f"/apis/leaderworkerset.x-k8s.io/v1/namespaces/{namespace}/leaderworkersets"


def pods(namespace: str) -> str:
    """Return the path of the API's list of pods."""
    return f"/api/v1/namespaces/{namespace}/pods"


def nodes() -> str:
    """Return the path of the API's list of nodes."""
    return "/api/v1/nodes"


def config_maps(namespace: str) -> str:
    """Return the path of the API's list of ConfigMaps."""
    return f"/api/v1/namespaces/{namespace}/configmaps"


def endpoint_slices(namespace: str) -> str:
    """Return the path of the API's list of EndpointSlices. They carry their Service's labels."""
    return f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"


def scaled_objects(namespace: str) -> str:
    """Return the path of the API's list of KEDA's ScaledObjects."""
    return f"/apis/keda.sh/v1alpha1/namespaces/{namespace}/scaledobjects"


def authorization(token: Path) -> dict[str, str]:
    """Return the header that authenticates this pod."""
    return {"authorization": f"Bearer {token.read_text().strip()}"}


def describe(problem: Exception) -> str:
    """Return one short phrase without addresses or headers."""
    if isinstance(problem, httpx.HTTPStatusError):
        return f"status {problem.response.status_code}"
    return type(problem).__name__


def model_of(item: Mapping[str, Any]) -> str:
    """Return the model an object belongs to."""
    return str(item["metadata"]["labels"][MODEL_LABEL])


def connect(api_server: str | None, account: Path = SERVICE_ACCOUNT) -> httpx.AsyncClient:
    """Return a client for the given API server, or for the cluster this pod runs in."""
    if api_server is None:
        host = os.environ.get("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc")
        port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        api_server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    authority = account / "ca.crt"
    verify = ssl.create_default_context(cafile=str(authority) if authority.exists() else None)
    return httpx.AsyncClient(base_url=api_server, verify=verify, trust_env=False)
