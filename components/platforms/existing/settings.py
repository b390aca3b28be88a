"""The stack file's settings of a cluster that others made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field, StrictBool

from components.typed.fields import Name, StackModel, integer, pattern
from components.typed.rules.file import COUNT_INVALID, REGISTRY_ADDRESS_INVALID
from components.typed.rules.stack import KUBECONFIG_CONTEXT

Address = Annotated[
    str,
    pattern(
        REGISTRY_ADDRESS_INVALID,
        "Address",
        r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[0-9]{1,5})?(/[a-z0-9]([a-z0-9._-]*[a-z0-9])?)*",
    ),
]
NodePort = Annotated[int, integer(COUNT_INVALID, 1, 65535, fix="leave it out and let Kubernetes choose")]
ApiServer = Annotated[str, pattern(KUBECONFIG_CONTEXT, "ApiServer", r"https://[A-Za-z0-9.\[\]:-]+(/.*)?")]
AccessMode = Literal["ReadOnlyMany", "ReadWriteMany", "ReadWriteOnce"]


class RegistrySettings(StackModel):
    """The registry for pushing and pulling images; ``pull_secret`` is the name of a Secret in the cluster, never a
    secret."""

    address: Address = Field(description="host and path", examples=["registry.example.com/ebbtide"])
    insecure: StrictBool = Field(default=False, description="plain HTTP; inside a closed network only")
    pull_secret: Name | None = Field(default=None, description="a Secret of type dockerconfigjson, by name")


class ModelStoreSettings(StackModel):
    """A PersistentVolumeClaim, in the models' namespace, that already holds the weights."""

    claim: Name = Field(description="the name of a PersistentVolumeClaim", examples=["model-weights"])
    access_mode: AccessMode = Field(default="ReadOnlyMany", description="the claim's access mode")


class IngressSettings(StackModel):
    """The way to the gateway from outside. ``url`` is what a client types, without ``/v1``."""

    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = Field(
        default="ClusterIP", description="type of the gateway's Service"
    )
    node_port: NodePort | None = Field(default=None, description="with NodePort: which one")
    annotations: Mapping[str, str] = Field(default_factory=dict, description="annotations of the Service")
    url: str | None = Field(default=None, description="what a client types, without /v1")


class ExistingSettings(StackModel):
    """A cluster that others made, reached by a kubeconfig and one of its contexts."""

    kind: Literal["existing"]
    kubeconfig: str = Field(default="~/.kube/config", description="a kubeconfig on the machine that runs `pulumi up`")
    context: str = Field(description="a context of that kubeconfig", examples=["my-cluster"])
    api_server: ApiServer | None = Field(
        default=None,
        description="the address the context must lead to; another is refused before anything is made",
    )
    storage_class: str | None = Field(default=None, description="the class for volumes; default: the cluster's own")
    registry: RegistrySettings = Field(
        description="where images are pushed and pulled", examples=["{address: registry.example.com/ebbtide}"]
    )
    model_store: ModelStoreSettings = Field(
        description="the claim that holds the weights", examples=["{claim: model-weights}"]
    )
    ingress: IngressSettings = Field(default=IngressSettings(), description="how the gateway is reached")

    @property
    def region(self) -> None:
        """Return None: nothing is bought here."""
        return None

    @property
    def ignores_order(self) -> str:
        """Return that the stack has no say in which nodes come."""
        return "nodes that are there are preferred in this order, and new ones are brought by others"
