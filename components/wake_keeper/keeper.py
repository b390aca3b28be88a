"""The wake keeper as one component: rights, configuration, one pod."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
import pulumi_kubernetes as k8s

from components.role_grant import grant
from components.wake_keeper.access import (
    LABELS,
    NAME,
    Manifest,
    gateway_role,
    network_policy,
    pod_guard,
    pod_guard_binding,
    role,
    role_binding,
    service,
)
from components.wake_keeper.settings import KeeperSettings
from components.wake_keeper.workload import config_map, deployment


class WakeKeeper(pulumi.ComponentResource):
    """Keeper that ends wakes that cannot succeed: pauses the model at zero, says why on its ScaledObject, in an Event,
    in metrics. It reports to KEDA how many requests a model's replicas work on, and how many wait in their queues, and
    marks the idlest of several replicas as the one to go first.

    Creates a service account with a role in the models' namespace and in its own, ConfigMap, NetworkPolicy, Service and
    a Deployment of one pod from the gateway's image; where a model may have several replicas, an admission policy that
    lets it change one annotation of their pods and nothing else. At rest it costs 20 m CPU and 96 MiB on a node without
    a GPU. It writes no ``replicas`` and starts no model. Without it models wake as they would have, and stay up until
    it is back; wakes that fail are held until they time out.

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
        guard = self._guarded(f"{name}-pods", settings) if settings.marks_pods else []
        bindings = [
            self._granted(f"{name}-role", role(settings), settings, account, guard),
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

    def _guarded(self, name: str, settings: KeeperSettings) -> list[pulumi.Resource]:
        """Create the policy that must exist before the right that it bounds, and longer."""
        child = pulumi.ResourceOptions(parent=self)
        policy = k8s.admissionregistration.v1.ValidatingAdmissionPolicy(name, **pod_guard(settings), opts=child)
        bound = k8s.admissionregistration.v1.ValidatingAdmissionPolicyBinding(
            f"{name}-binding",
            **pod_guard_binding(settings),
            opts=pulumi.ResourceOptions(parent=self, depends_on=[policy]),
        )
        return [policy, bound]

    def _granted(
        self,
        name: str,
        granted: Manifest,
        settings: KeeperSettings,
        account: pulumi.Resource,
        after: Sequence[pulumi.Resource] = (),
    ) -> pulumi.Resource:
        return grant(name, granted, role_binding(settings, granted), self, account, after)
