"""The whole stack file, typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from components.typed.fields import Shape, text, whole
from components.typed.units import Duration
from infra.config.gateway import GatewayConfig
from infra.config.model import ModelConfig
from infra.config.platform import PlatformConfig
from infra.config.pool import PoolConfig

Environment = Literal["local", "dev", "staging", "prod"]

Package = Annotated[
    str,
    text(
        119,
        r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9,._-]+\])?==[A-Za-z0-9][A-Za-z0-9.!+_-]*",
        "is not a pinned package",
        allowed="name==version",
        fix="pin it, like hf-transfer==0.1.9",
    ),
]
MostGpus = Annotated[int, whole(111, 0, 100_000, fix="give the most GPUs that all models together may hold")]


class GuardConfig(Shape):
    """The ceiling over all models together, kept by a quota in Kubernetes itself.

    ``when_full`` says what a request gets whose model would need a GPU above it: it waits for one to come free (at
    most ``wait_limit``, else as long as the model's ``hold``), or is refused at once.
    """

    max_gpus: MostGpus | None = None
    when_full: Literal["wait", "refuse"] = "wait"
    wait_limit: Duration | None = None


class IdleScalingConfig(Shape):
    """Where KEDA and its HTTP add-on come from: their charts, their own manifests, or the cluster has them."""

    install: Literal["helm", "manifests", "existing"] = "helm"


class ImageConfig(Shape):
    """What goes into the engine's image besides the engine."""

    extra_packages: tuple[Package, ...] = ()


class StackConfig(Shape):
    """One stack: a place, its GPU pools, the models on them, who may ask. No models is valid: the platform alone."""

    environment: Environment = Field(description="local, dev, staging, prod", examples=["local"])
    platform: PlatformConfig = Field(description="a place to run in", examples=["{kind: local}"])
    pools: Mapping[str, PoolConfig] = Field(default_factory=dict)
    models: Mapping[str, ModelConfig] = Field(default_factory=dict)
    guard: GuardConfig = GuardConfig()
    gateway: GatewayConfig = GatewayConfig()
    idle_scaling: IdleScalingConfig = IdleScalingConfig()
    image: ImageConfig = ImageConfig()

    @property
    def gpu_quota(self) -> int:
        """The most GPUs all models together may hold; 0 where there is no model."""
        return self.guard.max_gpus or 0

    def pool_of(self, model: ModelConfig) -> PoolConfig:
        """The pool a model runs on."""
        return self.pools[model.pool]

    def wait_limit(self, model: ModelConfig) -> Duration:
        """How long a request for ``model`` may wait while the guard is full."""
        return self.guard.wait_limit or model.hold

    def models_of(self, group: str) -> tuple[str, ...]:
        """Names of the models a group may use, in the order of the stack file."""
        return tuple(name for name in self.models if self.gateway.groups[group].may_use(name))


SECTIONS: tuple[str, ...] = tuple(field.alias or name for name, field in StackConfig.model_fields.items())
