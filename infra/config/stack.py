"""The whole stack file, typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from components.platforms.kinds import kind_of
from components.typed.fields import Shape, whole
from components.typed.units import Duration
from infra.config.gateway import GatewayConfig
from infra.config.gpu_layer import GpuLayerConfig
from infra.config.image import ImageConfig
from infra.config.model import ModelConfig
from infra.config.money import Dollars
from infra.config.platform import PlatformConfig
from infra.config.pool import PoolConfig

Environment = Literal["local", "dev", "staging", "prod"]

MostGpus = Annotated[int, whole(111, 0, 100_000, fix="give the most GPUs that all models together may hold")]


class GuardConfig(Shape):
    """The ceiling over all models together, kept by a quota in Kubernetes itself.

    ``when_full`` says what a request gets whose model would need a GPU above it: it waits for one to come free (at
    most ``wait_limit``, else as long as the model's ``hold``), or is refused at once.
    """

    max_gpus: MostGpus | None = Field(default=None, description="the most GPUs all models together may hold")
    when_full: Literal["wait", "refuse"] = Field(default="wait", description="what a request above that gets")
    wait_limit: Duration | None = Field(default=None, description="how long it waits; default: the model's hold")
    max_dollars_per_hour: Dollars | None = Field(
        default=None, description="the most that all pools at their max may cost, in US dollars"
    )


class IdleScalingConfig(Shape):
    """Where KEDA and its HTTP add-on come from: their charts, their own manifests, or the cluster has them."""

    install: Literal["helm", "manifests", "existing"] = Field(
        default="helm", description="from its charts, from manifests rendered here (local), or there already"
    )


class LeaderWorkerSetConfig(Shape):
    """Where LeaderWorkerSet's controller comes from, which models with ``nodes`` above 1 need: its chart, or the
    cluster has it. Without such a model nothing is installed."""

    install: Literal["helm", "existing"] = Field(default="helm", description="from its chart, or there already")


class StackConfig(Shape):
    """One stack: a place, its GPU pools, the models on them, who may ask. No models is valid: the platform alone."""

    environment: Environment = Field(description="local, dev, staging, prod", examples=["local"])
    platform: PlatformConfig = Field(description="a place to run in", examples=["{kind: local}"])
    pools: Mapping[str, PoolConfig] = Field(default_factory=dict, description="GPU node pools")
    models: Mapping[str, ModelConfig] = Field(default_factory=dict, description="what is served, on which pool")
    guard: GuardConfig = Field(default=GuardConfig(), description="the ceiling over all models")
    gateway: GatewayConfig = Field(default=GatewayConfig(), description="who may ask what")
    gpu_layer: GpuLayerConfig = Field(default=GpuLayerConfig(), description="the GPU software on the nodes")
    idle_scaling: IdleScalingConfig = Field(default=IdleScalingConfig(), description="what wakes and ends models")
    leader_worker_set: LeaderWorkerSetConfig = Field(
        default=LeaderWorkerSetConfig(), description="what runs models larger than one machine"
    )
    image: ImageConfig = Field(default=ImageConfig(), description="the engine's image")

    @property
    def gpu_quota(self) -> int:
        """The most GPUs all models together may hold; 0 where there is no model. Without a ceiling, which takes a
        waiver, what all of them hold at their max."""
        if self.guard.max_gpus is not None:
            return self.guard.max_gpus
        return sum(model.replica_gpus * model.max for model in self.models.values())

    @property
    def gateway_replicas(self) -> int:
        """Pods of the gateway. In production one of them may be killed without anybody waiting for the next."""
        return self.gateway.replicas or (2 if self.environment == "prod" else 1)

    @property
    def gpu_layer_install(self) -> str:
        """``helm`` or ``existing``: who installs the GPU operator."""
        return self.gpu_layer.install or kind_of(self.platform).gpu_layer

    @property
    def has_groups(self) -> bool:
        """Whether some model's replica takes several machines."""
        return any(model.nodes > 1 for model in self.models.values())

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
