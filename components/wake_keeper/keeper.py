"""The wake keeper as one component: rights, configuration, one pod."""

from __future__ import annotations

import pulumi
import pulumi_kubernetes as k8s

from components.wake_keeper.access import (
    LABELS,
    NAME,
    Manifest,
    gateway_role,
    network_policy,
    role,
    role_binding,
    service,
)
from components.wake_keeper.settings import KeeperSettings
from components.wake_keeper.workload import config_map, deployment


class WakeKeeper(pulumi.ComponentResource):
    """Ends wakes that cannot succeed: pauses the model at zero, says why on its ScaledObject, in an Event, in numbers.
    Tells KEDA how many requests a model's replicas work on, and how many wait in their queues.

    Creates a service account with a role in the models' namespace and in its own, ConfigMap, NetworkPolicy, Service and
    a Deployment of one pod from the gateway's image. At rest it costs 20 m CPU and 96 MiB on a node without a GPU. It
    writes no ``replicas`` and starts no model. Without it models wake as they would have, and stay up until it is back;
    wakes that fail are held until they time out.

    Both namespaces must exist: name what makes them in ``depends_on``.
    """

    def __init__(
        self,
        name: str,
        settings: KeeperSettings,
        image: pulumi.Input[str],
        pull_secret: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:wake_keeper:WakeKeeper", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        account = k8s.core.v1.ServiceAccount(
            f"{name}-account",
            metadata={"name": NAME, "namespace": settings.namespace, "labels": LABELS},
            automount_service_account_token=False,
            opts=child,
        )
        bindings = [
            self._granted(f"{name}-role", role(settings), settings, account),
            self._granted(f"{name}-counts-role", gateway_role(settings), settings, account),
        ]
        configuration = k8s.core.v1.ConfigMap(f"{name}-config", **config_map(settings), opts=child)
        policy = k8s.networking.v1.NetworkPolicy(f"{name}-network", **network_policy(settings), opts=child)
        k8s.core.v1.Service(f"{name}-service", **service(settings), opts=child)
        k8s.apps.v1.Deployment(
            f"{name}-deployment",
            **deployment(settings, image, pull_secret),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[*bindings, configuration, policy]),
        )
        self.register_outputs({})

    def _granted(
        self, name: str, granted: Manifest, settings: KeeperSettings, account: pulumi.Resource
    ) -> k8s.rbac.v1.RoleBinding:
        rights = k8s.rbac.v1.Role(name, **granted, opts=pulumi.ResourceOptions(parent=self))
        bound = role_binding(settings, granted)
        return k8s.rbac.v1.RoleBinding(
            f"{name}-binding",
            metadata=bound["metadata"],
            role_ref=bound["roleRef"],
            subjects=bound["subjects"],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[rights, account]),
        )
