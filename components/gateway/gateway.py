"""The gateway as one component: image, keys, rights, pods and how they are reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pulumi
import pulumi_kubernetes as k8s
import pulumi_random as random

from components.gateway.access import (
    LABELS,
    NAME,
    PORT,
    Manifest,
    adapters_role,
    network_policy,
    nodes_role,
    reader_role,
    role_binding,
)
from components.gateway.config import GatewaySettings, digest_of, keys_json
from components.gateway.workload import KEYS_FILE, adapters_map, config_map, deployment, disruption_budget, service
from components.platforms.contract import HttpIngress, Ingress, Registry
from components.pushed_image import python_image
from components.role_grant import grant

_KEY_LETTERS = 40
_RESTRICTED = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}


class Gateway(pulumi.ComponentResource):
    """One authenticated OpenAI-compatible endpoint for all models of a stack.

    Creates the gateway's namespace, image, keys (a random one for each key without a ``sha256``), ConfigMap and Secret,
    a service account that may read the models' Deployments, NetworkPolicy, Deployment, Service, an Ingress if the
    place's load balancer needs one and, from two replicas on, a disruption budget. Where calls may load adapters, a
    ConfigMap that lists them and the right to write that one. At rest it costs 0.25 CPU and 128
    MiB a replica on nodes without a GPU. It wakes no model by itself and keeps no record of use beyond its log.

    The models' namespace must exist: name it in ``depends_on``.
    """

    endpoint: pulumi.Output[str]
    """Base URL for clients, without ``/v1``."""
    api_keys: Mapping[str, pulumi.Output[str]]
    """Keys made here, by name, each a secret. A key given by its sha256 is not known here."""
    image: pulumi.Output[str]
    """Image in use, by digest."""

    def __init__(
        self,
        name: str,
        settings: GatewaySettings,
        registry: Registry,
        ingress: Ingress,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:gateway:Gateway", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        labels = {**_RESTRICTED, **(ingress.http.namespace_labels if ingress.http is not None else {})}
        namespace = k8s.core.v1.Namespace(
            f"{name}-namespace", metadata={"name": settings.namespace, "labels": labels}, opts=child
        )
        inside = pulumi.ResourceOptions(parent=self, depends_on=[namespace])
        built = python_image(f"{name}-image", registry, "gateway", child)
        self.image = built.ref
        self.api_keys = {
            key.name: self._new_key(f"{name}-key-{key.name}") for key in settings.keys if key.sha256 is None
        }
        account = k8s.core.v1.ServiceAccount(
            f"{name}-account",
            metadata={"name": NAME, "namespace": settings.namespace, "labels": LABELS},
            automount_service_account_token=False,
            opts=inside,
        )
        before = [self._grant(f"{name}-reader", settings, reader_role(settings), account)]
        if settings.loads_adapters:
            before += [
                self._grant(f"{name}-adapters", settings, adapters_role(settings), account),
                k8s.core.v1.ConfigMap(f"{name}-adapters-list", **adapters_map(settings), opts=inside),
            ]
        if settings.database is not None:
            before.append(self._grant(f"{name}-nodes", settings, nodes_role(settings), account))
        configuration = k8s.core.v1.ConfigMap(f"{name}-config", **config_map(settings), opts=inside)
        keys = k8s.core.v1.Secret(
            f"{name}-keys",
            metadata={"name": f"{NAME}-keys", "namespace": settings.namespace, "labels": LABELS},
            string_data={KEYS_FILE: self._key_file(settings)},
            opts=inside,
        )
        policy = k8s.networking.v1.NetworkPolicy(f"{name}-network", **network_policy(settings), opts=inside)
        k8s.apps.v1.Deployment(
            f"{name}-deployment",
            **deployment(settings, self.image, registry.pull_secret),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[*before, configuration, keys, policy]),
        )
        front = k8s.core.v1.Service(f"{name}-service", **service(settings, ingress), opts=inside)
        if ingress.http is not None:
            # after the Service: a load balancer that finds none waits a long while before it looks again
            GatewayIngress(
                name,
                settings,
                ingress.http,
                pulumi.ResourceOptions(parent=self, depends_on=[namespace, front]),
            )
        budget = disruption_budget(settings)
        if budget is not None:
            k8s.policy.v1.PodDisruptionBudget(f"{name}-disruption-budget", **budget, opts=inside)
        self.endpoint = _endpoint(settings, ingress, front)
        self.register_outputs({"endpoint": self.endpoint, "apiKeys": dict(self.api_keys), "image": self.image})

    def _grant(
        self, name: str, settings: GatewaySettings, granted: Manifest, account: pulumi.Resource
    ) -> pulumi.Resource:
        return grant(name, granted, role_binding(settings, granted), self, account, after=[account])

    def _new_key(self, name: str) -> pulumi.Output[str]:
        password = random.RandomPassword(
            name, length=_KEY_LETTERS, special=False, opts=pulumi.ResourceOptions(parent=self)
        )
        return pulumi.Output.secret(pulumi.Output.concat("sk-", password.result))

    def _key_file(self, settings: GatewaySettings) -> pulumi.Output[str]:
        digests = {key.name: key.sha256 for key in settings.keys if key.sha256 is not None}
        generated = pulumi.Output.all(**self.api_keys) if self.api_keys else pulumi.Output.from_input({})
        return pulumi.Output.secret(
            generated.apply(lambda keys: keys_json(settings, digests | {n: digest_of(key) for n, key in keys.items()}))
        )


def _endpoint(settings: GatewaySettings, ingress: Ingress, front: k8s.core.v1.Service) -> pulumi.Output[str]:
    if ingress.url is not None:
        return pulumi.Output.from_input(ingress.url)
    if ingress.http is not None:
        return pulumi.Output.from_input(f"https://{ingress.http.host}")
    if ingress.service_type == "LoadBalancer":
        return front.status.apply(lambda status: _balancer(status, f"http://{NAME}.{settings.namespace}:{PORT}"))
    return pulumi.Output.from_input(f"http://{NAME}.{settings.namespace}:{PORT}")


def _balancer(status: object, inside: str) -> str:
    """Return the load balancer's name or address; the Service's name inside the cluster while it has none."""
    points = getattr(getattr(status, "load_balancer", None), "ingress", None) or []
    for point in points:
        if address := point.hostname or point.ip:
            return f"http://{address}:{PORT}"
    return inside


def ingress_object(settings: GatewaySettings, http: HttpIngress) -> Manifest:
    """Return an Ingress of one host, all paths, to the Service's port. A TLS Secret is named in it; without one the
    place's annotations do: an entry under ``tls`` without a Secret would be an error to some controllers."""
    port = {"service": {"name": NAME, "port": {"name": "http"}}}
    spec: Manifest = {
        "rules": [{"host": http.host, "http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": port}]}}],
    }
    if http.class_name:  # a place that uses an annotation refuses a class beside it, and Kubernetes an empty one
        spec["ingressClassName"] = http.class_name
    if http.tls_secret is not None:
        spec["tls"] = [{"hosts": [http.host], "secretName": http.tls_secret}]
    return {
        "metadata": {
            "name": NAME,
            "namespace": settings.namespace,
            "labels": LABELS,
            **({"annotations": dict(http.annotations)} if http.annotations else {}),
        },
        "spec": spec,
    }


class GatewayIngress(pulumi.ComponentResource):
    """Ingress of the gateway, created after the place's own objects. At rest it costs what the place's load balancer
    costs.

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
