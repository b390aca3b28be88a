"""The contract of a place, so that everything after it can ignore which place it is.

Each folder beside this file (``kinds.py`` lists them) builds one ``Platform``. Nothing outside ``components/platforms``
may name a cloud. Plan-time choices are plain values; ``pulumi.Input`` marks what is only known once the place exists.
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
        """Return the one toleration that matches this taint and no other."""
        return {"key": self.key, "operator": "Equal", "value": self.value, "effect": self.effect}


@dataclass(frozen=True)
class Pool:
    """A GPU node pool as the scheduler sees it.

    ``gpu_resource`` is the extended resource a pod asks for (``nvidia.com/gpu`` or a MIG profile's name),
    ``gpus_per_node`` how many of them one node has. ``device`` is what the engine computes on: ``cpu`` only in the lab,
    where the GPUs are advertised to the scheduler but do not exist. ``turns``: its pods share a card, one engine
    awake and the others asleep in main memory. ``node_memory_gib`` and ``node_vcpus`` are those of one machine by its
    data sheet, None where it is not of the catalogue.
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
    node_memory_gib: float | None = None
    node_vcpus: int | None = None

    def tolerations(self) -> list[dict[str, str]]:
        """Return the tolerations of a pod that targets this pool."""
        return [taint.toleration() for taint in self.taints]


@dataclass(frozen=True)
class Disk:
    """A node's own disk: it holds the images and, on a place without a faster one, the weights while they load.
    ``None`` is the place's default, which must still take an image pull of 10 GB in about a minute."""

    size_gib: int | None = None
    iops: int | None = None
    throughput_mib: int | None = None


@dataclass(frozen=True)
class Sharing:
    """The sharing of one card by several pods. ``mig``: slices of ``profile`` (like ``1g.10gb``), all cards alike
    (``single``) or per card (``mixed``). ``timeSlicing``: ``replicas`` pods share a card, with nothing to separate
    their memories; ``turns``: they do so one after the other, and the stack file has its own key for it."""

    kind: Literal["mig", "timeSlicing"]
    strategy: Literal["single", "mixed"] = "single"
    profile: str | None = None
    replicas: int = 1
    turns: bool = False

    @property
    def key(self) -> str:
        """Return the stack file's key for this kind of sharing."""
        return "turns" if self.turns else self.kind

    @property
    def count_key(self) -> str:
        """Return the stack file's key for ``replicas``."""
        return "models" if self.turns else "replicas"


@dataclass(frozen=True)
class PoolRequest:
    """A stack's request for a pool: ``pool`` as the scheduler will see it (the stack's own labels and taints; the place
    adds those its nodes carry besides), and how to get the nodes.

    ``machine`` is a row of the catalogue, None where the nodes exist already. ``reservation`` names capacity bought in
    advance; with ``capacity_block`` it has an end. ``nodes`` and ``node_labels`` identify existing nodes. Where several
    pools suit a model, the one with the higher ``preference`` is tried first; 0: no model has a choice.
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
    """Facts about the stack that a place serves. ``name`` is the prefix of everything it creates; ``protect`` says
    whether what holds data or is slow to get back (cluster, bucket, registry, GPU pools) is safe from deletion by `up`.
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
    """The registry for pushing and pulling images: ``address`` is ``host[:port]/prefix`` without a trailing slash.

    ``base_images`` maps a device-independent role (``python``) to a base image reference by digest; a role that is
    absent takes the Dockerfile's own default. ``build_cache``: it takes a build's cache under the tag ``buildcache`` of
    each repository, which must be rewritable.
    """

    address: pulumi.Input[str]
    auth: RegistryAuth | None = None
    insecure: bool = False
    pull_secret: pulumi.Input[str] | None = None
    base_images: Mapping[str, str] = field(default_factory=dict)
    build_cache: bool = False


@dataclass(frozen=True)
class Endpoint:
    """An address that pods must be able to reach: a CIDR and its TCP ports."""

    cidr: str
    ports: tuple[int, ...]


@dataclass(frozen=True)
class Weights:
    """Access to one model's weights for its engine: a path or URI for ``--model``, and the mounts it needs.

    For a URI the pod may reach DNS, TLS and ``credentials``, the link-local addresses where the place hands out the
    pod's own identity and no other; ``environment`` is what the client needs besides, nothing secret.
    """

    path: str
    load_format: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    credentials: tuple[Endpoint, ...] = ()
    volumes: tuple[Mapping[str, Any], ...] = ()
    mounts: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True)
class Identity:
    """Marks by which the place recognises a serving pod: its service account's annotations (role, client id), its
    labels."""

    service_account_annotations: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    pod_labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Upload:
    """The mirror Job's target and identity: ``root`` is the store's URI (``s3://…``), ``identity`` the only one that
    may write there, ``environment`` what the client needs besides (an account's name, a region), and ``credentials``
    the link-local addresses where the place hands that identity out."""

    root: str
    identity: Identity
    environment: Mapping[str, str] = field(default_factory=dict)
    credentials: tuple[Endpoint, ...] = ()


class ModelStore(Protocol):
    """Read-only weights by Hugging Face id and pinned revision."""

    @property
    def upload(self) -> Upload | None:
        """Return how the stack fills the store; None: it is filled by others."""
        ...

    def prepare(self, namespace: pulumi.Input[str], opts: pulumi.ResourceOptions) -> list[pulumi.Resource]:
        """Create what pods in ``namespace`` need to read the store (a claim, a binding); called once."""
        ...

    def weights(self, model_id: str, revision: str) -> Weights:
        """Return where this model's files are; pure, so that a plan can call it."""
        ...


@dataclass(frozen=True)
class HttpIngress:
    """An Ingress object before the gateway's Service, where the place's load balancer speaks HTTP and terminates TLS.

    ``class_name`` is empty where ``annotations`` name the class. ``tls_secret`` names a Secret with the certificate in
    the gateway's namespace; None: the place holds the certificate and ``annotations`` name it. ``objects`` are
    manifests of the place's own that the load balancer reads, created in the gateway's namespace before the Ingress.
    ``namespace_labels`` are what the load balancer's controller wants to find on that namespace.
    """

    class_name: str
    host: str
    annotations: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    tls_secret: str | None = None
    objects: tuple[Mapping[str, Any], ...] = ()
    namespace_labels: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Ingress:
    """The way to the gateway's Service. ``url`` is what a client types, without ``/v1``; None: read it from the
    Service's load balancer once it exists. ``idle_timeout_seconds`` is when the place itself cuts a silent connection
    (None: never). ``leave_seconds`` is how long new requests may still be sent to a pod that is to go: the endpoints of
    a Service are forgotten in a moment, a load balancer outside the cluster takes longer."""

    service_type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    node_port: int | None = None
    annotations: Mapping[str, pulumi.Input[str]] = field(default_factory=dict)
    url: pulumi.Input[str] | None = None
    idle_timeout_seconds: int | None = None
    leave_seconds: int = 5
    http: HttpIngress | None = None


@dataclass(frozen=True)
class Platform:
    """One place, ready to serve models."""

    kind: str
    provider: k8s.Provider
    pools: Mapping[str, Pool]
    registry: Registry
    model_store: ModelStore
    identity: Identity = field(default_factory=Identity)
    ingress: Ingress = field(default_factory=Ingress)
    storage_class: str | None = None
    ready: tuple[pulumi.Resource, ...] = ()
