"""One model as Kubernetes runs it: the component that wires the results of the other modules here."""

from __future__ import annotations

from collections.abc import Sequence

import pulumi
import pulumi_kubernetes as k8s

from components.model_service import chat_template
from components.model_service.network import Peer, model_policy
from components.model_service.settings import PORT, ModelSettings
from components.model_service.workload import (
    API,
    KIND,
    Placement,
    deployment,
    disruption_budget,
    leader_worker_set,
    selector,
    service,
)


class ModelService(pulumi.ComponentResource):
    """Deployment, Service, NetworkPolicy and, where two replicas always run, a disruption budget; a LeaderWorkerSet in
    place of the Deployment if one replica takes several machines; a ConfigMap if the model has a chat template of its
    own.

    Costs nothing at rest when ``min_replicas`` is 0: the workload starts with ``min_replicas`` replicas, and KEDA owns
    the number from then on. Nothing here waits for a pod, creates a GPU node or decides when the model runs
    (``IdleScalingPolicy`` does). The namespace, its quota and its service account are ``ModelNamespace``'s.
    """

    workload: k8s.apps.v1.Deployment | k8s.apiextensions.CustomResource
    service: k8s.core.v1.Service
    url: str
    """URL of the Service inside the cluster. Callers go through the interceptor instead, which wakes the model."""

    def __init__(
        self,
        name: str,
        model: ModelSettings,
        place: Placement,
        callers: Sequence[Peer],
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:model_service:ModelService", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        # before the workload: a pod must never run unguarded
        policy = k8s.networking.v1.NetworkPolicy(
            f"{name}-network",
            **model_policy(
                model.name,
                place.namespace,
                selector(model),
                callers,
                place.weights,
                model.is_group,
                fetches=bool(model.media_domains),
            ),
            opts=child,
        )
        needed: list[pulumi.Resource] = [policy]
        template = chat_template.config_map(model, place.namespace, selector(model))
        if template is not None:
            needed.append(k8s.core.v1.ConfigMap(f"{name}-chat-template", **template, opts=child))
        self.service = k8s.core.v1.Service(f"{name}-service", **service(model, place), opts=child)
        guarded = pulumi.ResourceOptions(
            parent=self,
            depends_on=needed,
            # as the API spells it: the snake-case form is silently ignored, and an update would put a woken
            # model back to its starting number
            ignore_changes=["spec.replicas"],
        )
        if model.is_group:
            self.workload = k8s.apiextensions.CustomResource(
                f"{name}-group", api_version=API, kind=KIND, **leader_worker_set(model, place), opts=guarded
            )
        else:
            self.workload = k8s.apps.v1.Deployment(f"{name}-deployment", **deployment(model, place), opts=guarded)
        budget = disruption_budget(model, place)
        if budget is not None:
            k8s.policy.v1.PodDisruptionBudget(f"{name}-disruption-budget", **budget, opts=child)
        self.url = f"http://{model.name}.{place.namespace}:{PORT}"
        self.register_outputs({"url": self.url})
