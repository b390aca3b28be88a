"""The place a stack runs in: one class a place, told apart by ``kind``. A further place joins the union below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StrictBool

from components.typed.fields import Name, Shape, text, whole

Address = Annotated[
    str,
    text(
        120,
        r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]([a-z0-9._-]*[a-z0-9])?)*",
        "is not the address of a registry",
        allowed="host, an optional port and path, without scheme, tag or trailing slash",
        fix="write it like registry.example.com/ebbtide",
    ),
]
NodePort = Annotated[int, whole(111, 1, 65535, fix="leave it out and let Kubernetes choose")]


class LocalPlatform(Shape):
    """The cluster that ``ebbtide local up`` keeps on this machine."""

    kind: Literal["local"]


class RegistryConfig(Shape):
    """Where images are pushed and pulled; ``pull_secret`` is the name of a Secret in the cluster, never a secret."""

    address: Address = Field(description="host and path", examples=["registry.example.com/ebbtide"])
    insecure: StrictBool = False
    pull_secret: Name | None = None


class ModelStoreConfig(Shape):
    """A PersistentVolumeClaim, in the models' namespace, that already holds the weights."""

    claim: Name = Field(description="the name of a PersistentVolumeClaim", examples=["model-weights"])


class IngressConfig(Shape):
    """How the gateway is reached from outside. ``url`` is what a client types, without ``/v1``."""

    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    node_port: NodePort | None = None
    annotations: Mapping[str, str] = Field(default_factory=dict)
    url: str | None = None


class ExistingPlatform(Shape):
    """A cluster somebody else made, reached by a kubeconfig and one of its contexts."""

    kind: Literal["existing"]
    kubeconfig: str = "~/.kube/config"
    context: str = Field(description="a context of that kubeconfig", examples=["my-cluster"])
    storage_class: str | None = None
    registry: RegistryConfig = Field(
        description="where images are pushed and pulled", examples=["{address: registry.example.com/ebbtide}"]
    )
    model_store: ModelStoreConfig = Field(
        description="the claim that holds the weights", examples=["{claim: model-weights}"]
    )
    ingress: IngressConfig = IngressConfig()


PlatformConfig = Annotated[LocalPlatform | ExistingPlatform, Field(discriminator="kind")]
