"""The Ingress object before the gateway's Service, where a place's load balancer speaks HTTP and ends TLS."""

from __future__ import annotations

from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.gateway.access import LABELS, NAME, Manifest
from components.gateway.config import GatewaySettings
from components.platforms.contract import HttpIngress


def ingress_object(settings: GatewaySettings, http: HttpIngress) -> Manifest:
    """One host, all paths, to the Service's port. With a Secret it names it; else the place's annotations do: an entry
    under ``tls`` without a Secret would be an error to some controllers."""
    port = {"service": {"name": NAME, "port": {"name": "http"}}}
    spec: Manifest = {
        "rules": [{"host": http.host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": port}]}}],
    }
    if http.class_name:  # a place that goes by an annotation refuses a class beside it, and Kubernetes an empty one
        spec["ingressClassName"] = http.class_name
    if http.tls_secret is not None:
        spec["tls"] = [{"hosts": [http.host], "secretName": http.tls_secret}]
    return {
        "metadata": {
            "name": NAME,
            "namespace": settings.namespace,
            "labels": LABELS,
            "annotations": dict(http.annotations),
        },
        "spec": spec,
    }


class GatewayIngress(pulumi.ComponentResource):
    """Creates the place's own objects, then the Ingress. At rest it costs what the place's load balancer costs.

    The load balancer's controller must be there before it and go after it: name both it and the gateway's namespace in
    ``depends_on``, or the load balancer stays behind on ``destroy``.
    """

    def __init__(
        self, name: str, settings: GatewaySettings, http: HttpIngress, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("ebbtide:gateway:GatewayIngress", f"{name}-front", None, opts)
        before = [self._object(name, settings, dict(manifest)) for manifest in http.objects]
        k8s.networking.v1.Ingress(
            f"{name}-ingress",
            opts=pulumi.ResourceOptions(parent=self, depends_on=before),
            **ingress_object(settings, http),
        )
        self.register_outputs({"host": http.host})

    def _object(self, name: str, settings: GatewaySettings, manifest: dict[str, Any]) -> pulumi.Resource:
        metadata = {**manifest["metadata"], "namespace": settings.namespace}
        return k8s.apiextensions.CustomResource(
            f"{name}-{manifest['kind'].lower()}-{metadata['name']}",
            api_version=manifest["apiVersion"],
            kind=manifest["kind"],
            metadata=metadata,
            spec=manifest.get("spec"),
            opts=pulumi.ResourceOptions(parent=self),
        )
