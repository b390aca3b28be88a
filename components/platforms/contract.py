"""What a place must offer so that everything after it can ignore which place it is.

Each folder beside this file (``kinds.py`` lists them) builds one ``Platform``. Nothing outside
``components/platforms`` may name a cloud. Plan-time choices are plain values; ``pulumi.Input`` marks what is only
known once the place exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from components.catalog.machine import Machine

if TYPE_CHECKING:
    # annotations only: judges and plans read this contract, and the SDKs cost them seconds
    import pulumi
    import pulumi_kubernetes as k8s

Device = Literal["cuda", "cpu"]
TaintEffect = Literal["NoSchedule", "PreferNoSchedule", "NoExecute"]


@dataclass(frozen=True)
class Taint:
    """A taint in Kubernetes' own spelling; each place translates it to its provider's."""

    key: str
    value: str
    effect: TaintEffect = "NoSchedule"

    def toleration(self) -> dict[str, str]:
        """The one toleration that matches this taint and no other."""
        return {"key": self.key, "operator": "Equal", "value": self.value, "effect": self.effect}


@dataclass(frozen=True)
class Pool:
    """A GPU node pool as the scheduler sees it.

    ``gpu_resource`` is the extended resource a pod asks for (``nvidia.com/gpu`` or a MIG profile's name),
    ``gpus_per_node`` how many of them one node has. ``device`` is what the engine computes on: ``cpu`` only in the lab,
    where the GPUs are advertised to the scheduler but do not exist. ``turns``: its pods share a card, one engine
    awake and the others asleep in main memory.
    """

    name: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    gpus_per_node: int
    gpu_resource: str = "nvidia.com/gpu"
    min_nodes: int = 0
    max_nodes: int = 1
    node_image: str = "unknown"
    device: Device = "cuda"
    turns: bool = False

    def tolerations(self) -> list[dict[str, str]]:
        """Tolerations for a pod that targets this pool."""
        return [taint.toleration() for taint in self.taints]


@dataclass(frozen=True)
class Disk:
    """A node's own disk: it holds the images and, on a place without a faster one, the weights on their way in.
    ``None`` is the place's default, which must still take an image pull of 10 GB in about a minute."""

    size_gib: int | None = None
    iops: int | None = None
    throughput_mib: int | None = None


@dataclass(frozen=True)
class Sharing:
    """One card for several pods. ``mig``: slices of ``profile`` (like ``1g.10gb``), all cards alike (``single``) or
    per card (``mixed``). ``timeSlicing``: ``replicas`` pods share a card, without a wall between their memories;
    ``turns``: they do so one after the other, and the stack file says it under that word."""

    kind: Literal["mig", "timeSlicing"]
    strategy: Literal["single", "mixed"] = "single"
    profile: str | None = None
    replicas: int = 1
    turns: bool = False

    @property
    def key(self) -> str:
        """The stack file's word for it."""
        return "turns" if self.turns else self.kind

    @property
    def count_key(self) -> str:
        """Its word for ``replicas``."""
        return "models" if self.turns else "replicas"


@dataclass(frozen=True)
class PoolRequest:
    """What a stack asks of a place: ``pool`` as the scheduler will see it (the stack's own labels and taints; the place
    adds what its nodes carry besides), and how the nodes are to be had.

    ``machine`` is a row of the catalogue, None where the nodes are there already. ``reservation`` names capacity bought
    before; with ``capacity_block`` it is one with an end. ``nodes`` and ``node_labels`` tell nodes that exist. Where
    several pools do for a model, that with the higher ``preference`` is to be tried sooner; 0: no model has a choice.
    """

    pool: Pool
    machine: Machine | None = None
    zones: tuple[str, ...] = ()
    spot: bool = False
    reservation: str | None = None
    capacity_block: bool = False
    disk: Disk = Disk()
    sharing: Sharing | None = None
    nodes: tuple[str, ...] = ()
    node_labels: Mapping[str, str] = field(default_factory=dict)
    preference: int = 0


@dataclass(frozen=True)
class About:
    """What a place must know of the stack it serves. ``name`` is the prefix of everything it creates; ``protect`` says
    whether what holds data or is slow to get back (cluster, bucket, registry, GPU pools) may not be deleted by `up`.
    ``longest_silence_seconds`` is how long a request may be held without a byte: no hop may cut sooner."""

    name: str
    environment: str
    protect: bool = False
    longest_silence_seconds: int = 900


@dataclass(frozen=True)
class RegistryAuth:
    """Credentials for pushing; ``password`` is always a secret output."""

    username: pulumi.Input[str]
    password: pulumi.Input[str]


@dataclass(frozen=True)
class Registry:
    """Where images are pushed and pulled from: ``address`` is ``host[:port]/prefix`` without a trailing slash.

    ``base_images`` maps a device-independent role (``python``) to a base image reference by digest; a role that is
    absent takes the Dockerfile's own default. ``build_cache``: it takes a build's cache under the tag ``buildcache`` of
    each repository, which must be one that may be written again.
    """

    address: pulumi.Input[str]
    auth: RegistryAuth | None = None
    insecure: bool = False
    pull_secret: pulumi.Input[str] | None = None
    base_images: Mapping[str, str] = field(default_factory=dict)
    build_cache: bool = False


@dataclass(frozen=True)
class Endpoint:
    """An address pods must be let out to: a CIDR and its TCP ports."""

    cidr: str
    ports: tuple[int, ...]


@dataclass(frozen=True)
class Weights:
    """How one model's weights reach its engine: a path or URI for ``--model``, and what must be mounted for it.

    For a URI the pod is let out to DNS and TLS, and to ``credentials``, the link-local addresses where the place hands
    out the pod's own identity and nobody else's; ``environment`` is what the client needs besides, nothing secret.
    """

    path: str
    load_format: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    credentials: tuple[Endpoint, ...] = ()
    volumes: tuple[Mapping[str, Any], ...] = ()
    mounts: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Identity:
    """What a serving pod's service account carries so that the place knows it (role annotation, client id)."""

    service_account_annotations: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    pod_labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Upload:
    """Where and as whom the mirror Job writes weights: ``root`` is the store's URI (``s3://…``), ``identity`` the only
    one that may write there, ``environment`` what the client needs besides (an account's name, a region), and
    ``credentials`` the link-local addresses where the place hands that identity out."""

    root: str
    identity: Identity
    environment: Mapping[str, str] = field(default_factory=dict)
    credentials: tuple[Endpoint, ...] = ()


class ModelStore(Protocol):
    """Read-only weights by Hugging Face id and pinned revision."""

    @property
    def upload(self) -> Upload | None:
        """How the stack fills the store; None: somebody else does."""
        ...

    def prepare(self, namespace: pulumi.Input[str], opts: pulumi.ResourceOptions) -> list[pulumi.Resource]:
        """Create what pods in ``namespace`` need to read the store (a claim, a binding); called once."""
        ...

    def weights(self, model_id: str, revision: str) -> Weights:
        """Where this model's files are; pure, so that a plan can call it."""
        ...


@dataclass(frozen=True)
class HttpIngress:
    """An Ingress object before the gateway's Service, where the place's load balancer speaks HTTP and ends TLS.

    ``class_name`` is empty where ``annotations`` name the class. ``tls_secret`` names a Secret with the certificate in
    the gateway's namespace; None: the place holds it and
    ``annotations`` name it. ``objects`` are manifests of the place's own that the load balancer reads, created in the
    gateway's namespace before the Ingress.
    """

    class_name: str
    host: str
    annotations: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    tls_secret: str | None = None
    objects: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Ingress:
    """How the gateway's Service is reached. ``url`` is what a client types, without ``/v1``; None: read it from the
    Service's load balancer once it exists. ``idle_timeout_seconds`` is the place's own cut on a silent connection
    (None: it has none)."""

    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    node_port: int | None = None
    annotations: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    url: pulumi.Input[str] | None = None
    idle_timeout_seconds: int | None = None
    http: HttpIngress | None = None


@dataclass(frozen=True)
class Platform:
    """One place, ready to be served on."""

    kind: str
    provider: k8s.Provider
    pools: Mapping[str, Pool]
    registry: Registry
    model_store: ModelStore
    identity: Identity = field(default_factory=Identity)
    ingress: Ingress = field(default_factory=Ingress)
    storage_class: str | None = None
    ready: tuple[pulumi.Resource, ...] = ()
