"""The wake keeper as one component: rights, configuration, one pod."""

from __future__ import annotations

import pulumi
import pulumi_kubernetes as k8s

from components.wake_keeper.access import LABELS, NAME, network_policy, role, role_binding, service
from components.wake_keeper.settings import KeeperSettings
from components.wake_keeper.workload import config_map, deployment


class WakeKeeper(pulumi.ComponentResource):
    """Ends wakes that cannot succeed: pauses the model at zero, says why on its ScaledObject, in an Event, in numbers.

    Creates a service account with a role in the models' namespace, ConfigMap, NetworkPolicy and a Deployment of one pod
    from the gateway's image; a Service too where KEDA asks it for the engines' queues. At rest it costs 20 m CPU and
    96 MiB on a node without a GPU. It writes no ``replicas``, starts no model, and without it models wake as they would
    have: only failures are then held until they time out, and models with a ``queueTarget`` stay up until it is back.

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
        rights = k8s.rbac.v1.Role(f"{name}-role", **role(settings), opts=child)
        bound = role_binding(settings)
        binding = k8s.rbac.v1.RoleBinding(
            f"{name}-role-binding",
            metadata=bound["metadata"],
            role_ref=bound["roleRef"],
            subjects=bound["subjects"],
            opts=pulumi.ResourceOptions(parent=self, depends_on=[rights, account]),
        )
        configuration = k8s.core.v1.ConfigMap(f"{name}-config", **config_map(settings), opts=child)
        policy = k8s.networking.v1.NetworkPolicy(f"{name}-network", **network_policy(settings), opts=child)
        if settings.asks_engines:
            k8s.core.v1.Service(f"{name}-service", **service(settings), opts=child)
        k8s.apps.v1.Deployment(
            f"{name}-deployment",
            **deployment(settings, image, pull_secret),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[binding, configuration, policy]),
        )
        self.register_outputs({})
