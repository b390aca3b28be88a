"""Addresses of the engine's parts: the same Service names from the charts and from the modules' own manifests."""

from __future__ import annotations

from typing import Final

INTERCEPTOR_SERVICE: Final = "keda-add-ons-http-interceptor-proxy"
INTERCEPTOR_PORT: Final = 8080
SCALER_SERVICE: Final = "keda-add-ons-http-external-scaler"
SCALER_PORT: Final = 9090


def interceptor_url(namespace: str = "keda") -> str:
    """Return the URL to which the gateway sends a request; the ``Host`` header then names the model (``host_of``)."""
    return f"http://{INTERCEPTOR_SERVICE}.{namespace}:{INTERCEPTOR_PORT}"


def scaler_address(namespace: str = "keda") -> str:
    """Return the gRPC ``host:port`` that a ScaledObject's trigger names."""
    return f"{SCALER_SERVICE}.{namespace}:{SCALER_PORT}"


def host_of(model: str, namespace: str) -> str:
    """Return the ``Host`` of a request to this model, without a port: the interceptor matches on the bare host."""
    return f"{model}.{namespace}"
