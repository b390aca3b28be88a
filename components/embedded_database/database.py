"""The embedded database as one component."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
import pulumi_kubernetes as k8s
import pulumi_random as random

from components.embedded_database.objects import (
    LABELS,
    NAME,
    SECRET,
    DatabaseSettings,
    claim,
    deployment,
    network_policy,
    secret,
    service,
)

_PASSWORD_LETTERS = 40


class EmbeddedDatabase(pulumi.ComponentResource):
    """PostgreSQL for the gateway's keys and usage.

    Creates a password, a Secret with it and with the URI, a service account without rights, a claim, a NetworkPolicy
    that lets the gateway in and nothing out, a Service and a Deployment of one pod. At rest it costs 0.1 CPU, 512 MiB
    and the claim. It has no replica and no backup: what the claim loses is lost. Without it the gateway answers keys
    that it knows.

    The namespace must exist: name what makes it in ``depends_on``.
    """

    def __init__(
        self,
        name: str,
        settings: DatabaseSettings,
        callers: Mapping[str, str],
        pull_secret: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:embedded_database:EmbeddedDatabase", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        password = random.RandomPassword(f"{name}-password", length=_PASSWORD_LETTERS, special=False, opts=child)
        data: pulumi.Output[dict[str, str]] = password.result.apply(lambda text: dict(secret(settings, text)))
        hidden: pulumi.Output[dict[str, str]] = pulumi.Output.secret(data)
        metadata = {"namespace": settings.namespace, "labels": LABELS}
        secrets = k8s.core.v1.Secret(
            f"{name}-secret",
            metadata={"name": SECRET, **metadata},
            string_data=hidden,
            opts=child,
        )
        account = k8s.core.v1.ServiceAccount(
            f"{name}-account",
            metadata={"name": NAME, **metadata},
            automount_service_account_token=False,
            opts=child,
        )
        volume = k8s.core.v1.PersistentVolumeClaim(
            f"{name}-claim",
            **claim(settings),
            opts=pulumi.ResourceOptions(parent=self, protect=settings.protect or None),
        )
        policy = k8s.networking.v1.NetworkPolicy(f"{name}-network", **network_policy(settings, callers), opts=child)
        k8s.core.v1.Service(f"{name}-service", **service(settings), opts=child)
        k8s.apps.v1.Deployment(
            f"{name}-deployment",
            **deployment(settings, pull_secret),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[secrets, account, volume, policy]),
        )
        self.register_outputs({})
