"""The whole stack file, typed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Literal, Union

from pydantic import AfterValidator, Field, StrictBool

from components.platforms.kinds import PlaceSettings, kind_of, settings_classes
from components.typed.fields import Limit, Name, StackModel, integer, pattern, text
from components.typed.rules.database import DATABASE_NETWORK_INVALID
from components.typed.rules.file import (
    COUNT_INVALID,
    KEY_HASH_INVALID,
    ORIGIN_INVALID,
    PACKAGE_NOT_PINNED,
)
from components.typed.rules.stack import IMAGE_NOT_PINNED
from components.typed.units import Duration, Quantity
from infra.stackfile.long_prompts import public_names
from infra.stackfile.schema.model import ModelConfig
from infra.stackfile.schema.money import Budget, Dollars
from infra.stackfile.schema.pool import PoolConfig

# Where the GPU software on the nodes comes from.


class GpuLayerConfig(StackModel):
    """The source of NVIDIA's GPU operator. ``helm``: the stack installs it. ``existing``: the cluster's owner has done
    so. The default is ``helm`` where the stack makes the nodes and ``existing`` where they already exist."""

    install: Literal["helm", "existing"] | None = Field(
        default=None, description="who installs the GPU operator; default: the stack, where it makes the nodes"
    )


# The engine's image: its base, its extra packages, and the processors it is built for.

Package = Annotated[
    str,
    text(
        PACKAGE_NOT_PINNED,
        r"[A-Za-z0-9][A-Za-z0-9._-]*(\[[A-Za-z0-9,._-]+\])?==[A-Za-z0-9][A-Za-z0-9.!+_-]*",
        "is not a pinned package",
        allowed="name==version",
        fix="pin it, like hf-transfer==0.1.9",
    ),
]
ByDigest = Annotated[
    str,
    text(
        IMAGE_NOT_PINNED,
        r"[A-Za-z0-9][A-Za-z0-9.:-]*(/[a-z0-9._-]+)+(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?@sha256:[0-9a-f]{64}",
        "is not an image by digest: what a tag names can change between two nodes",
        allowed="registry/name:tag@sha256: and 64 hexadecimal digits",
        fix="copy the digest from: docker buildx imagetools inspect IMAGE",
        waived=r"[A-Za-z0-9][A-Za-z0-9.:-]*(/[a-z0-9._-]+)*(:[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?",
    ),
]


class ImageConfig(StackModel):
    """The engine's image. Without ``base`` it starts from vLLM's own image at the pinned version."""

    base: ByDigest | None = Field(
        default=None, description="vLLM's CUDA image by digest, like a copy in your registry; a code owner has to agree"
    )
    architecture: Literal["amd64", "arm64"] = Field(default="amd64", description="processors it is built for")
    extra_packages: tuple[Package, ...] = Field(
        default=(), description="Python packages, pinned; most need a code owner"
    )


# The place a stack runs in: the settings of one kind of place, selected by ``kind``.

if TYPE_CHECKING:
    PlatformConfig = PlaceSettings
else:
    PlatformConfig = Annotated[Union[settings_classes()], Field(discriminator="kind")]  # noqa: UP007


# Access to models: groups of models, and keys that belong to a group.

ALL_MODELS = "*"

Sha256 = Annotated[
    str,
    text(
        KEY_HASH_INVALID,
        r"[0-9a-fA-F]{64}",
        "is not a SHA-256",
        allowed="64 hexadecimal digits",
        fix='give the hash of the key (printf %s "$KEY" | sha256sum), or leave it out and a key is made',
    ),
    AfterValidator(str.lower),
]


# each gateway replica remembers the times of these requests
RequestsPerMinute = Annotated[
    int, integer(COUNT_INVALID, 1, 100_000, fix="give a whole number, or leave it out for no limit")
]
Tokens = Annotated[
    int, integer(COUNT_INVALID, 1, 1_000_000_000_000, fix="give a whole number, or leave it out for no limit")
]
Replicas = Annotated[int, integer(COUNT_INVALID, 1, 100, fix="give the number of its pods, or leave it out")]


class GroupRights(StackModel):
    """What the keys of a group may do."""

    models: tuple[str, ...] = Field(description="a list of model names", examples=['["*"]'])
    wake: tuple[str, ...] | None = Field(
        default=None,
        description="models it may wake, or `*`; default: all it may use; `[]`: none",
        examples=["[llama-8b]"],
    )
    load_adapters: tuple[str, ...] = Field(
        default=(),
        description="models with hotAdapters into which its keys may load adapters, and take them out again",
        examples=["[llama-8b]"],
    )
    admin: StrictBool = Field(
        default=False, description="its keys may make other groups' keys and read all usage; needs a `database`"
    )


class UsageLimits(StackModel):
    """What a group or a key may use at most, over all models and all gateway replicas."""

    requests_per_minute: RequestsPerMinute | None = Field(default=None, description="in any 60 seconds")
    concurrent_requests: RequestsPerMinute | None = Field(
        default=None, description="requests that are held or answered at once"
    )
    tokens_per_minute: Tokens | None = Field(
        default=None, description="in and out, of requests that ended in the last 60 seconds"
    )
    tokens_per_day: Tokens | None = Field(
        default=None, description="in and out, from midnight to midnight, UTC; needs a `database`"
    )
    tokens_per_month: Tokens | None = Field(
        default=None, description="in and out, in a month of the calendar, UTC; needs a `database`"
    )
    max_wakes_per_day: Limit | None = Field(
        default=None, description="wakes it may begin from midnight to midnight, UTC"
    )
    dollars_per_day: Budget | None = Field(
        default=None, description="of nodes' cost that it caused, from midnight to midnight, UTC; needs a `database`"
    )
    dollars_per_month: Budget | None = Field(
        default=None, description="of nodes' cost that it caused, in a month of the calendar, UTC; needs a `database`"
    )

    @property
    def limited(self) -> frozenset[str]:
        """Return the names of the limits that are set."""
        return frozenset(name for name in UsageLimits.model_fields if getattr(self, name) is not None)


class GroupConfig(UsageLimits, GroupRights):
    """The models that the keys of a group may use, by name, or ``*`` for all of them. Adapters that a call loads into
    a model have names of their own: ``MODEL/NAME`` for one, ``MODEL/*`` for all of them.

    A model that is awake answers every group that may use it. A request for a sleeping model needs the right to wake
    it, else it gets 403 `wake_not_allowed`. Limits are of all its keys together, over all models and all gateway
    replicas; a key may have its own besides, and the smallest holds: 429 with Retry-After. Keys of a group with
    `admin` are made in the stack file alone.
    """

    def may_use(self, model: str) -> bool:
        """Return True if a key of this group may ask ``model`` (its name, not an alias)."""
        return _names(self.models, model)

    def may_wake(self, model: str) -> bool:
        """Return True if a key of this group may ask ``model`` while it sleeps."""
        return self.may_use(model) and (self.wake is None or _names(self.wake, model))


def _names(rights: tuple[str, ...], model: str) -> bool:
    """Return True if a list of a group has a model's name, or what stands for it: ``*``, and ``MODEL/*`` for adapters
    that a call loads into one."""
    base, slash, _ = model.partition("/")
    return ALL_MODELS in rights or model in rights or (bool(slash) and f"{base}/{ALL_MODELS}" in rights)


class KeyOwner(StackModel):
    """Whose a key is."""

    group: str = Field(description="the name of a group", examples=["everyone"])
    sha256: Sha256 | None = Field(default=None, description="of a key made elsewhere")


class KeyConfig(UsageLimits, KeyOwner):
    """An API key, given only as its hash; without a hash the stack makes a key and exports it as a secret. Its limits
    are its own, beside its group's."""


Origin = Annotated[
    str,
    text(
        ORIGIN_INVALID,
        r"\*|https?://[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[1-9][0-9]{0,4})?",
        "is not an origin as a browser sends it",
        allowed="scheme and host in small letters, with the port if it is not the usual one, or '*'",
        fix="copy it from the browser: location.origin in its console, without a path or a slash at its end",
    ),
]


class CorsConfig(StackModel):
    """Pages in a browser that may read the gateway's answers, by their origin. A page needs a key as everybody does."""

    origins: tuple[Origin, ...] = Field(
        default=(), description="origins of pages, or `*`; default: none", examples=["[https://chat.example.com]"]
    )


class GatewayConfig(StackModel):
    """Groups and keys by name, and the number of pods between the clients and the models."""

    replicas: Replicas | None = Field(
        default=None,
        description="pods of the gateway, which always run; default: 2 in `prod`, elsewhere 1",
        examples=["2"],
    )
    comment_every: Duration | None = Field(
        default=None,
        description="how often a held stream is sent a comment with the phase of the wake, so that no proxy takes "
        "silence for death; default: `10s`",
        examples=["30s"],
    )
    groups: Mapping[str, GroupConfig] = Field(default_factory=dict, description="who may ask which models")
    keys: Mapping[str, KeyConfig] = Field(default_factory=dict, description="API keys, each of one group")
    cors: CorsConfig = Field(default=CorsConfig(), description="pages in a browser that may ask it directly")


Environment = Literal["local", "dev", "staging", "prod"]

MostGpus = Annotated[
    int, integer(COUNT_INVALID, 0, 100_000, fix="give the most GPUs that all models together may hold")
]
MostInstances = Annotated[
    int, integer(COUNT_INVALID, 1, 10_000, fix="give the most replicas of all models that may run at once")
]


class GuardConfig(StackModel):
    """The ceiling over all models together, enforced by quotas in Kubernetes itself.

    ``when_full`` applies to a request whose model would need a GPU or an instance above it: it waits for one to become
    free (at most ``wait_limit``, by default the model's ``hold``), or is refused at once.
    """

    max_gpus: MostGpus | None = Field(default=None, description="the most GPUs all models together may hold")
    max_instances: MostInstances | None = Field(
        default=None, description="the most replicas of all models that run at once; one on several machines is one"
    )
    when_full: Literal["wait", "refuse"] = Field(default="wait", description="what a request above that gets")
    wait_limit: Duration | None = Field(default=None, description="how long it waits; default: the model's hold")
    max_dollars_per_hour: Dollars | None = Field(
        default=None, description="the most that all pools at their max may cost, in US dollars"
    )


UsageDays = Annotated[
    int, integer(COUNT_INVALID, 63, 3650, fix="keep two months at least: sums of a month and of its cost need them")
]
Port = Annotated[int, integer(COUNT_INVALID, 1, 65535, fix="give the port on which the database listens")]
Network = Annotated[str, pattern(DATABASE_NETWORK_INVALID, "Cidr", r"[0-9]{1,3}(\.[0-9]{1,3}){3}/[0-9]{1,2}")]


class DatabaseConfig(StackModel):
    """The PostgreSQL for keys that are made while the stack runs, and for usage. ``existing`` is one of your own.
    ``embedded`` is one pod with a claim and no backup, for clusters that exist already and for trying. With ``none``
    every key stands in this file, and usage in the gateway's log alone.

    A Secret of an existing database lies in the namespace `ebbtide`; its key `uri` is
    `postgresql://USER:PASSWORD@HOST:PORT/NAME`, of a user who may make a schema there. It may be made after the stack.
    """

    kind: Literal["none", "existing", "embedded", "managed"] = Field(default="none", description="whose it is")
    secret: Name | None = Field(default=None, description="`existing`: the Secret with its URI", examples=["accounts"])
    namespace: Name | None = Field(
        default=None, description="`existing`: the namespace of its pods, if it runs in the cluster"
    )
    networks: tuple[Network, ...] = Field(
        default=(), description="`existing`: where its addresses are, if it runs elsewhere", examples=["[10.40.0.0/16]"]
    )
    port: Port = Field(default=5432, description="`existing`: on which it listens")
    tls: Literal["verify", "encrypt", "off"] = Field(
        default="verify",
        description="`existing`: `verify` asks its server for a certificate of the Secret's `ca.crt`, or of a public "
        "authority; `encrypt` takes any",
    )
    limits_while_away: Literal["open", "closed"] = Field(
        default="open",
        description="while it is away, requests under a limit of a day's or a month's tokens pass, up to what a "
        "gateway replica knows of them (`open`), or get 503",
    )
    usage_days: UsageDays | None = Field(
        default=None, description="days for which usage, and lives of nodes and pods, are kept; default: for ever"
    )
    storage: Quantity = Field(default=Quantity(10 * 2**30), description="`embedded`: size of its claim")
    storage_class: Name | None = Field(default=None, description="`embedded`: of its claim; default: the cluster's")
    image: ByDigest | None = Field(
        default=None, description="`embedded`: PostgreSQL's own image by digest, like a copy in your registry"
    )


class IdleScalingConfig(StackModel):
    """The source of KEDA and its HTTP add-on: their charts, their own manifests, or already in the cluster."""

    install: Literal["helm", "manifests", "existing"] = Field(
        default="helm", description="from its charts, from manifests rendered here (local), or there already"
    )


class LeaderWorkerSetConfig(StackModel):
    """The source of LeaderWorkerSet's controller, which models with ``nodes`` above 1 need: its chart, or already in
    the cluster. Without such a model nothing is installed."""

    install: Literal["helm", "existing"] = Field(default="helm", description="from its chart, or there already")


class StackConfig(StackModel):
    """One stack: a place, its GPU pools, the models on them, and who may ask. It is valid without any model."""

    environment: Environment = Field(description="local, dev, staging, prod", examples=["local"])
    platform: PlatformConfig = Field(description="a place to run in", examples=["{kind: local}"])
    pools: Mapping[str, PoolConfig] = Field(default_factory=dict, description="GPU node pools")
    models: Mapping[str, ModelConfig] = Field(default_factory=dict, description="what is served, on which pool")
    guard: GuardConfig = Field(default=GuardConfig(), description="the ceiling over all models")
    gateway: GatewayConfig = Field(default=GatewayConfig(), description="who may ask what")
    database: DatabaseConfig = Field(default=DatabaseConfig(), description="keys made at run time, and usage")
    gpu_layer: GpuLayerConfig = Field(default=GpuLayerConfig(), description="the GPU software on the nodes")
    idle_scaling: IdleScalingConfig = Field(default=IdleScalingConfig(), description="what wakes and ends models")
    leader_worker_set: LeaderWorkerSetConfig = Field(
        default=LeaderWorkerSetConfig(), description="what runs models larger than one machine"
    )
    image: ImageConfig = Field(default=ImageConfig(), description="the engine's image")

    @property
    def gpu_quota(self) -> int:
        """Return the most GPUs all models together may hold: the guard's ceiling. Without a ceiling, which takes a
        waiver if there is any model, it is what all models hold at their max."""
        if self.guard.max_gpus is not None:
            return self.guard.max_gpus
        return sum(model.replica_gpus * model.max for model in self.models.values())

    @property
    def protect(self) -> bool:
        """Return True in ``prod``, where `up` may not delete what holds data or is slow to get back."""
        return self.environment == "prod"

    @property
    def gateway_replicas(self) -> int:
        """Return the number of gateway pods; by default 2 in ``prod``, so that one may be killed without a wait."""
        return self.gateway.replicas or (2 if self.environment == "prod" else 1)

    @property
    def gpu_layer_install(self) -> str:
        """Return ``helm`` or ``existing``: who installs the GPU operator."""
        return self.gpu_layer.install or kind_of(self.platform).gpu_layer

    @property
    def has_groups(self) -> bool:
        """Return True if some model's replica takes several machines."""
        return any(model.nodes > 1 for model in self.models.values())

    @property
    def asked_as(self) -> Mapping[str, str]:
        """Return the names that clients ask for, by each model that takes a shorter one's long prompts."""
        return public_names({name: model.long_prompts for name, model in self.models.items()})

    def wait_limit(self, model: ModelConfig) -> Duration:
        """Return how long a request for ``model`` may wait while the guard is full."""
        return self.guard.wait_limit or model.hold


SECTIONS: tuple[str, ...] = tuple(field.alias or name for name, field in StackConfig.model_fields.items())
