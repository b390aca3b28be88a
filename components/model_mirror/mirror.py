"""The mirror as one component."""

from __future__ import annotations

from collections.abc import Mapping

import pulumi
import pulumi_kubernetes as k8s

from components.model_mirror.objects import job, namespace, network_policy, service_account
from components.model_mirror.settings import NAMESPACE, MirrorSettings
from components.platforms.contract import Registry, Upload
from components.pushed_image import python_image


class ModelMirror(pulumi.ComponentResource):
    """Mirror of each model's files, at its pinned revision, from the hub in the stack's own store, checked by sum.

    Creates the namespace ``ebbtide-mirror`` (restricted), a NetworkPolicy that lets nobody in, the service account that
    alone may write to the store, the mirror's image and one Job per model and revision. A Job takes half a CPU and 512
    MiB while it copies, on nodes without a GPU; at rest it costs nothing but the weights in the store. An unchanged
    model starts no Job again; one whose Job failed is tried again by ``up --replace`` of that Job.

    `up` waits for no Job, and no model should: a model that wakes before its weights are there fails to load, and the
    next request finds them. A gated model needs a Secret with a token in that namespace, made by its owner; until it is
    there its Job's pod waits. Nothing here deletes weights that no model names any more.
    """

    namespace: str = NAMESPACE
    jobs: Mapping[tuple[str, str], k8s.batch.v1.Job]
    """Jobs by model id and revision."""
    image: pulumi.Output[str]
    """Image in use, by digest."""

    def __init__(
        self,
        name: str,
        settings: MirrorSettings,
        upload: Upload,
        registry: Registry,
        opts: pulumi.ResourceOptions | None = None,
    ) -> None:
        super().__init__("ebbtide:model_mirror:ModelMirror", name, None, opts)
        child = pulumi.ResourceOptions(parent=self)
        space = k8s.core.v1.Namespace(f"{name}-namespace", **namespace(), opts=child)
        inside = pulumi.ResourceOptions(parent=self, depends_on=[space])
        closed = k8s.networking.v1.NetworkPolicy(f"{name}-network", **network_policy(upload), opts=inside)
        account = k8s.core.v1.ServiceAccount(
            f"{name}-service-account", **service_account(upload, registry.pull_secret), opts=inside
        )
        built = python_image(f"{name}-image", registry, "mirror", child)
        self.image = built.ref
        self.jobs = {
            (model.model_id, model.revision): k8s.batch.v1.Job(
                f"{name}-{model.label}",
                **job(model, settings, upload, self.image),
                opts=pulumi.ResourceOptions(
                    parent=self,
                    depends_on=[closed, account],
                    # a Job cannot be changed: another image would run every copy again, and change no file
                    ignore_changes=["spec.template.spec.containers[0].image"],
                ),
            )
            for model in settings.each
        }
        self.register_outputs({"image": self.image})
