"""The clients' way to the gateway: an Azure load balancer (layer 4) before an ingress controller that ends TLS."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import pulumi
import pulumi_azure_native as azure
import pulumi_kubernetes as k8s

from components.platforms.azure.names import tags
from components.platforms.azure.patience import GRACE_MARGIN_SECONDS, patience_seconds
from components.platforms.azure.rights import Group, grant
from components.platforms.azure.settings import CERTIFICATE_ID, IngressSettings
from components.platforms.azure.tables import pinned
from components.platforms.contract import About, HttpIngress, Ingress

NAMESPACE: Final = "ebbtide-ingress"
CLASS: Final = "ebbtide"
CONTROLLER: Final = "traefik"
TLS_SECRET: Final = "certificate"  # noqa: S105  a Secret's name
IDLE_TIMEOUT_MINUTES: Final = 30
"""Minutes without a packet until Azure's load balancer drops a connection; 4 to 30 on AKS. A request may be silent for
longer: the controller sends a TCP keep-alive every three minutes, which counts as a packet. Sources: AKS documentation,
Configure the public standard load balancer: annotations; traefik/traefik v3.7, server_entrypoint_tcp.go; Azure Load
Balancer documentation, TCP reset and idle timeout."""

_LEAVE_SECONDS = 30
"""How long a controller that is told to go still takes connections: Azure's load balancer asks its node every 5 s and
believes the second answer. Sources: Traefik documentation, EntryPoints: transport.lifeCycle; AKS documentation,
Configure the public standard load balancer."""
_CHARTS = "https://traefik.github.io/charts"
_BALANCER = "service.beta.kubernetes.io/azure-load-balancer"
_ROUTER = "traefik.ingress.kubernetes.io/router"


@dataclass(frozen=True)
class Certificate:
    """A certificate in a Key Vault. ``secret`` is the id for a right on this certificate alone: with its key it is read
    as the secret of the same name. Source: Azure Key Vault documentation, About certificates."""

    vault: str
    vault_name: str
    name: str

    @property
    def secret(self) -> str:
        return f"{self.vault}/secrets/{self.name}"


def certificate(resource_id: str) -> Certificate:
    """Parse a certificate's id. Raises ``ValueError`` for anything else; the settings have refused it by then."""
    match = re.fullmatch(CERTIFICATE_ID, resource_id)
    if match is None:
        raise ValueError(f"{resource_id} is not the id of a certificate in a Key Vault")
    return Certificate(match["vault"], match["vault_name"], match["name"])


def service_annotations(public: bool) -> dict[str, str]:
    """Return the annotations for a long idle timeout and, unless ``public``, an internal load balancer."""
    patient = {f"{_BALANCER}-tcp-idle-timeout": str(IDLE_TIMEOUT_MINUTES)}
    return patient if public else {f"{_BALANCER}-internal": "true", **patient}


def secret_provider(tls: Certificate, tenant: str, client_id: pulumi.Input[str]) -> dict[str, Any]:
    """Build the manifest by which the CSI driver turns the certificate into a TLS Secret, and follows its renewal.

    Source: AKS documentation, Set up Secrets Store CSI driver to enable an NGINX ingress controller with TLS.
    """
    objects = f"array:\n  - |\n    objectName: {tls.name}\n    objectType: secret\n"
    data = [{"objectName": tls.name, "key": key} for key in ("tls.key", "tls.crt")]
    return {
        "apiVersion": "secrets-store.csi.x-k8s.io/v1",
        "kind": "SecretProviderClass",
        "metadata": {"name": TLS_SECRET, "namespace": NAMESPACE},
        "spec": {
            "provider": "azure",
            "secretObjects": [{"secretName": TLS_SECRET, "type": "kubernetes.io/tls", "data": data}],
            "parameters": {
                "usePodIdentity": "false",
                "clientID": client_id,
                "keyvaultName": tls.vault_name,
                "tenantId": tenant,
                "objects": objects,
            },
        },
    }


def controller_values(settings: IngressSettings, provider: Mapping[str, Any], patience: int) -> dict[str, Any]:
    """Build the chart's values: port 443 alone, its own class, no dashboard, and time-outs of ``patience`` seconds.

    ``readTimeout`` (60 s unless set) also runs while an answer is awaited, so it must outlast hold and stream.
    Source: Traefik documentation, EntryPoints: transport.respondingTimeouts; the chart's own values.
    """
    version = pinned(CONTROLLER)
    volume: dict[str, Any] = {
        "name": TLS_SECRET,
        "csi": {
            "driver": "secrets-store.csi.k8s.io",
            "readOnly": True,
            "volumeAttributes": {"secretProviderClass": TLS_SECRET},
        },
    }
    closed = {"expose": {"default": False}}
    patient = {
        "respondingTimeouts": {"readTimeout": f"{patience}s", "writeTimeout": "0s"},
        "lifeCycle": {"requestAcceptGraceTimeout": f"{_LEAVE_SECONDS}s", "graceTimeOut": f"{patience}s"},
    }
    balancer: dict[str, Any] = {"type": "LoadBalancer", "externalTrafficPolicy": "Local"}
    if settings.allowed_networks:
        balancer["loadBalancerSourceRanges"] = list(settings.allowed_networks)
    return {
        "fullnameOverride": CONTROLLER,
        "image": {"digest": version.digest} if version.digest else {},
        "deployment": {
            "replicas": 2,
            "terminationGracePeriodSeconds": patience + GRACE_MARGIN_SECONDS,
            "additionalVolumes": [volume],
        },
        # mounting it is what makes the driver write the Secret
        "additionalVolumeMounts": [{"name": TLS_SECRET, "mountPath": "/certificate", "readOnly": True}],
        "podDisruptionBudget": {"enabled": True, "minAvailable": 1},
        "ingressClass": {"enabled": True, "isDefaultClass": False, "name": CLASS},
        "providers": {
            "kubernetesCRD": {"enabled": True, "namespaces": [NAMESPACE]},
            "kubernetesIngress": {"enabled": True, "ingressClass": CLASS},
        },
        "tlsStore": {"default": {"defaultCertificate": {"secretName": TLS_SECRET}}},
        "api": {"dashboard": False},
        "global": {"checkNewVersion": False, "sendAnonymousUsage": False},
        "ports": {"web": closed, "websecure": {"asDefault": True, "transport": patient}},
        "service": {"annotations": service_annotations(settings.public), "spec": balancer},
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}},
        "extraObjects": [provider],
    }


def ingress(settings: IngressSettings, patience: int) -> Ingress:
    """Return what the gateway must request to be reached this way. The controller itself holds the certificate."""
    annotations = {f"{_ROUTER}.entrypoints": "websecure", f"{_ROUTER}.tls": "true"}
    return Ingress(
        url=f"https://{settings.host}",
        idle_timeout_seconds=patience,
        http=HttpIngress(class_name=CLASS, host=settings.host, annotations=annotations),
    )


class AzureIngress(pulumi.ComponentResource):
    """Traefik behind an internal (or, if asked, public) Azure load balancer, with a certificate that it reads from a
    Key Vault under its own identity. At rest it costs two small pods on the system pool and the load balancer's price.

    None of Azure's own fits: the managed NGINX is supported until November 2026 only; its successor (Gateway API) is
    not in the API version of the provider; Application Gateway for Containers has no private address; Application
    Gateway cuts a silent connection after five minutes on a private address, and a cold start takes longer. Sources:
    AKS documentation, Application routing add-on with the Gateway API; Application Gateway for Containers components;
    Application Gateway FAQ: keep-alive and TCP idle time-outs.
    """

    ingress: Ingress
    ready: tuple[pulumi.Resource, ...]

    def __init__(
        self,
        settings: IngressSettings,
        tenant: str,
        about: About,
        group: Group,
        issuer: pulumi.Input[str],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:platforms:AzureIngress", "ingress", None, opts)
        child = pulumi.ResourceOptions(parent=self)
        tls = certificate(settings.certificate)
        identity = azure.managedidentity.UserAssignedIdentity(
            "ingress-identity",
            resource_name_=f"{about.name}-ingress",
            resource_group_name=group.name,
            location=group.location,
            tags=tags(about),
            opts=child,
        )
        trusted = azure.managedidentity.FederatedIdentityCredential(
            "ingress-account",
            federated_identity_credential_resource_name=CONTROLLER,
            resource_group_name=group.name,
            resource_name_=identity.name,
            issuer=issuer,
            subject=f"system:serviceaccount:{NAMESPACE}:{CONTROLLER}",
            audiences=["api://AzureADTokenExchange"],
            opts=child,
        )
        may_read = grant(
            "ingress-certificate",
            "Key Vault Secrets User",
            tls.secret,
            identity.principal_id,
            group.subscription,
            child,
        )
        restricted = {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}
        namespace = k8s.core.v1.Namespace(
            "ingress-namespace", metadata={"name": NAMESPACE, "labels": restricted}, opts=child
        )
        release = k8s.helm.v3.Release(
            "ingress",
            name="ingress",
            chart=CONTROLLER,
            version=pinned(CONTROLLER).version,
            namespace=NAMESPACE,
            repository_opts={"repo": _CHARTS},
            values=controller_values(
                settings, secret_provider(tls, tenant, identity.client_id), patience_seconds(about)
            ),
            timeout=900,
            opts=pulumi.ResourceOptions(parent=self, depends_on=[namespace, trusted, may_read]),
        )
        self.ingress = ingress(settings, patience_seconds(about))
        self.ready = (release,)
        self.register_outputs({"url": self.ingress.url})
