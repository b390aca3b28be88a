"""The namespace all models share: restricted, closed, and never given more GPUs or instances than the guard allows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.model_service.network import default_deny
from components.model_service.settings import SERVICE_ACCOUNT

QUOTA_NAME = "gpu-guard"
INSTANCE_QUOTA_NAME = "instance-guard"


def namespace_labels() -> dict[str, str]:
    """Return the labels of Pod Security ``restricted`` for all three modes: a violation is refused, shown and logged
    alike.
    """
    return {f"pod-security.kubernetes.io/{mode}": "restricted" for mode in ("enforce", "warn", "audit")}


def gpu_quota(max_gpus: int, gpu_resources: Iterable[str]) -> dict[str, str]:
    """Return ``ResourceQuota.spec.hard``: at most ``max_gpus`` of each extended resource the pools offer.

    Kubernetes has no sum over resources: where pools offer several (MIG profiles), each gets the limit to itself.
    Raises ``ValueError`` for a negative number; 0 is allowed and lets no model start.
    """
    if max_gpus < 0:
        raise ValueError(f"guard: maxGpus is {max_gpus}, allowed is 0 or more")
    return {f"requests.{resource}": str(max_gpus) for resource in sorted(set(gpu_resources))}


def instance_class(namespace: str) -> str:
    """Return the name of the priority class by which the quota tells a model's instances from other pods. It belongs to
    the whole cluster.
    """
    return f"{namespace}-instance"


def instance_quota(max_instances: int, namespace: str) -> dict[str, Any]:
    """Return ``ResourceQuota.spec``: at most so many pods of the class of instances. A replica on several machines has
    one, its leader.
    """
    return {
        "hard": {"pods": str(max_instances)},
        "scopeSelector": {
            "matchExpressions": [
                {"scopeName": "PriorityClass", "operator": "In", "values": [instance_class(namespace)]}
            ]
        },
    }


class ModelNamespace(pulumi.ComponentResource):
    """Namespace, quotas, default-deny policy and the service account of every model.

    Costs nothing. Objects created in it must name this component in ``depends_on``. A pod over the quota is refused by
    the API server and retried by its ReplicaSet: it comes up when another model is gone. No quota of GPUs is created
    where no pool offers one, and none of instances where ``max_instances`` is None.
    """

    namespace: str

    def __init__(
        self,
        resource_name: str,
        namespace: str,
        max_gpus: int,
        max_instances: int | None,
        gpu_resources: Iterable[str],
        service_account_annotations: Mapping[str, pulumi.Input[str]] | None = None,
        pull_secret: pulumi.Input[str] | None = None,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:model_service:ModelNamespace", resource_name, None, opts)
        hard = gpu_quota(max_gpus, gpu_resources)
        created = k8s.core.v1.Namespace(
            f"{resource_name}-namespace",
            metadata={"name": namespace, "labels": namespace_labels()},
            opts=pulumi.ResourceOptions(parent=self),
        )
        inside = pulumi.ResourceOptions(parent=self, depends_on=[created])
        if hard:
            k8s.core.v1.ResourceQuota(
                f"{resource_name}-quota",
                metadata={"name": QUOTA_NAME, "namespace": namespace},
                spec={"hard": hard},
                opts=inside,
            )
        if max_instances is not None:
            priority = k8s.scheduling.v1.PriorityClass(
                f"{resource_name}-instance",
                metadata={"name": instance_class(namespace)},
                # that of pods without a class: it is there to be counted
                value=0,
                description="A model's instance, counted by a quota",
                opts=pulumi.ResourceOptions(parent=self),
            )
            k8s.core.v1.ResourceQuota(
                f"{resource_name}-instance-quota",
                metadata={"name": INSTANCE_QUOTA_NAME, "namespace": namespace},
                spec=instance_quota(max_instances, namespace),
                opts=pulumi.ResourceOptions.merge(inside, pulumi.ResourceOptions(depends_on=[priority])),
            )
        closed: dict[str, Any] = default_deny(namespace)
        k8s.networking.v1.NetworkPolicy(f"{resource_name}-default-deny", **closed, opts=inside)
        k8s.core.v1.ServiceAccount(
            f"{resource_name}-service-account",
            metadata={
                "name": SERVICE_ACCOUNT,
                "namespace": namespace,
                # the API server drops an empty map, which would come back as a difference after every refresh
                **({"annotations": dict(service_account_annotations)} if service_account_annotations else {}),
            },
            automount_service_account_token=False,
            image_pull_secrets=[{"name": pull_secret}] if pull_secret is not None else None,
            opts=inside,
        )
        self.namespace = namespace
        self.register_outputs({"namespace": namespace})
