"""Configuration of the gateway's process: ``gateway.yaml`` and ``keys.json``, rendered from plain typed values."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import yaml
from pydantic.alias_generators import to_camel

Document = dict[str, Any]
ADAPTERS = "gateway-adapters"
"""Name of the ConfigMap that lists the adapters which calls have loaded; the gateway itself writes it."""
DATABASE_FOLDER = "/etc/ebbtide/database"


@dataclass(frozen=True, kw_only=True)
class RoutedModel:
    """One model as the gateway knows it. ``gpus``: of one replica; ``host``: what the interceptor routes by;
    ``hold_seconds``: how long a request may wait for the wake; ``usd_per_hour``: cost of the nodes that a wake may
    start, reported to the client that wakes it (None: unknown). ``by_prefix``: prompts that begin alike go to one
    replica. ``most_waiting``: requests that may wait at once while no replica answers (None: any number).
    ``most_sequences``: how many one replica works on or queues, so no request may ask for more at once (None: any
    number). ``task``: the one its engine was started for. ``cold_start_seconds``: the longest a
    start may take, from which ``Retry-After`` follows while it goes on (None: the hold). ``wake_seconds``: how
    long each phase of a wake should take by the plan, where it knows, until there were wakes. ``longer``: the model
    that gets requests which might not fit into ``context_tokens``; it is asked for as ``asked_as`` alone.
    ``adapters``: LoRA adapters in its engines, each a name of its own to clients, with the id of its weights.
    ``hot_adapters``: how many more a call may load. ``batch_at_once``: lines of batches that one gateway may have in it
    at once (None: no batches). ``takes_turns``: its engines share their cards with others' by turns."""

    name: str
    host: str
    gpus: int
    hold_seconds: float
    aliases: tuple[str, ...] = ()
    usd_per_hour: float | None = None
    by_prefix: bool = False
    most_waiting: int | None = None
    most_sequences: int | None = None
    task: str = "chat"
    cold_start_seconds: float | None = None
    wake_seconds: Mapping[str, float] = field(default_factory=dict)
    context_tokens: int | None = None
    longer: str | None = None
    asked_as: str | None = None
    adapters: Mapping[str, str] = field(default_factory=dict)
    hot_adapters: int = 0
    batch_at_once: int | None = None
    takes_turns: bool = False


@dataclass(frozen=True)
class WakeGuard:
    """Rules for a request for a sleeping model whose GPUs would exceed ``max_gpus``, or whose replica would be one more
    than ``max_instances`` (None: no limit here).

    ``wait``: held in the gateway until there is room, at most ``wait_limit_seconds`` (None: the model's hold).
    ``refuse``: 503 at once. Either way the answer names the models that run.
    """

    max_gpus: int | None = None
    max_instances: int | None = None
    when_full: Literal["wait", "refuse"] = "wait"
    wait_limit_seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class UsageLimits:
    """What a group or a key may use at most; None: no limit."""

    requests_per_minute: int | None = None
    tokens_per_minute: int | None = None
    tokens_per_day: int | None = None
    tokens_per_month: int | None = None
    concurrent_requests: int | None = None
    max_wakes_per_day: int | None = None
    dollars_per_day: float | None = None
    dollars_per_month: float | None = None


@dataclass(frozen=True)
class Group:
    """Rights of a group's keys: ``models`` they may ask, and those in ``wake`` also while they sleep (None: all of
    them); ``*`` stands for every model, ``MODEL/*`` for the adapters that calls load into one. ``load_adapters``:
    models into which they may load adapters. ``admin``: they make other groups' keys and read usage."""

    models: Sequence[str]
    wake: Sequence[str] | None = None
    limits: UsageLimits = UsageLimits()
    load_adapters: Sequence[str] = ()
    admin: bool = False


@dataclass(frozen=True)
class ApiKey:
    """Key of a group. ``sha256`` (64 hex digits) of a key made elsewhere; None: the stack makes the key. ``limits``:
    its own, beside its group's."""

    name: str
    group: str
    sha256: str | None = None
    limits: UsageLimits = UsageLimits()


@dataclass(frozen=True)
class Keeper:
    """Wake keeper, asked what groups have used in the gateway's other processes: a Service's URL, and its pods."""

    url: str
    labels: Mapping[str, str]
    port: int


@dataclass(frozen=True, kw_only=True)
class PaidPool:
    """Node pool and what a node of it costs. ``labels``: of its nodes; ``gpu_resource``: what its pods ask for;
    ``usd_per_hour`` None: unknown; ``standing``: its nodes are there whether or not anybody asks.
    """

    name: str
    labels: Mapping[str, str]
    gpu_resource: str
    usd_per_hour: float | None
    standing: bool


@dataclass(frozen=True, kw_only=True)
class WarmHours:
    """Hours in which the stack file keeps ``replicas`` of a model: on ``days`` (0 is Monday) from minute ``start`` of
    the day to ``end``, on the next day if that is not later. They are started ``ahead`` minutes before.
    """

    model: str
    replicas: int
    days: Sequence[int] = tuple(range(7))
    start: int = 0
    end: int = 1440
    timezone: str = "UTC"
    ahead: int = 0


@dataclass(frozen=True, kw_only=True)
class Database:
    """PostgreSQL of keys and usage. ``secret``: a Secret of the gateway's namespace with ``uri``, and ``ca.crt`` if no
    public authority vouches for its server. ``to``: the peers where it listens on ``port``, of a NetworkPolicy.
    ``limits_while_away``: whether requests pass whose limits need its sums while it is away. ``usage_days``:
    for how long usage is kept, None: for ever. ``pools`` and ``warm``: what the ledger has to know of the stack file.
    """

    secret: str
    to: Sequence[Mapping[str, Any]]
    port: int = 5432
    tls: Literal["verify", "encrypt", "off"] = "verify"
    limits_while_away: Literal["open", "closed"] = "open"
    usage_days: int | None = None
    pools: Sequence[PaidPool] = ()
    warm: Sequence[WarmHours] = ()


@dataclass(frozen=True)
class GatewaySettings:
    """All settings of the gateway.

    ``max_held_bytes``: limit for the bodies of all requests of one pod together, ``max_file_bytes``: for the files in
    their forms (audio), which lie on disk. ``request_seconds`` bounds the silence of one answer. A stopping pod takes
    requests for ``leave_seconds`` more, until no balancer sends it any, and then lets those it has end for
    ``shutdown_seconds``, held ones too. ``silence_seconds``: how often a held stream is sent a comment.
    ``api_server_ports`` are the ports the NetworkPolicy opens towards the API server. ``groups_of_pods``: some model
    runs as a LeaderWorkerSet, so the guard has to watch those besides Deployments. ``keeper``: needed where a group
    or a key has ``max_wakes_per_day``, and for limits of a minute and of requests at once with several replicas;
    without one each process counts for itself. ``cors_origins``: whose pages in a browser may read answers, ``*`` for
    all. ``database`` None: every key is in ``keys``, and usage in the log alone.
    """

    interceptor_url: str
    models: Sequence[RoutedModel] = ()
    groups: Mapping[str, Group] = field(default_factory=dict)
    keys: Sequence[ApiKey] = ()
    guard: WakeGuard = WakeGuard()
    namespace: str = "ebbtide"
    models_namespace: str = "ebbtide-models"
    interceptor_namespace: str = "keda"
    interceptor_port: int = 8080
    replicas: int = 1
    request_seconds: int = 3600
    silence_seconds: int = 10
    leave_seconds: int = 5
    shutdown_seconds: int = 300
    max_body_bytes: int = 32 * 1024 * 1024
    max_held_bytes: int = 512 * 1024 * 1024
    max_file_bytes: int = 1024 * 1024 * 1024
    groups_of_pods: bool = False
    keeper: Keeper | None = None
    cors_origins: tuple[str, ...] = ()
    database: Database | None = None
    api_server_ports: tuple[int, ...] = (443, 6443, 16443)

    @property
    def loads_adapters(self) -> bool:
        """Return True if a call may load adapters into some model, and a list of them is kept."""
        return any(model.hot_adapters for model in self.models)

    def __post_init__(self) -> None:
        if self.replicas < 1:
            raise ValueError(f"gateway: replicas is {self.replicas}, allowed is 1 or more")
        for key in self.keys:
            if key.group not in self.groups:
                known = ", ".join(sorted(self.groups)) or "none"
                raise ValueError(f"gateway.keys.{key.name}: group is {key.group!r}, allowed: {known}")


def gateway_document(settings: GatewaySettings) -> Document:
    """Return ``gateway.yaml`` as the process expects it; it holds no keys."""
    guard = settings.guard
    return {
        "interceptorUrl": settings.interceptor_url,
        **({"keeperUrl": settings.keeper.url} if settings.keeper is not None else {}),
        # by name: an engine sorts the keys of a stack's configuration, a file has them in its own order
        "models": [_model(model) for model in sorted(settings.models, key=lambda model: model.name)],
        "guard": {
            "whenFull": guard.when_full,
            **_without_none(
                maxGpus=guard.max_gpus,
                maxInstances=guard.max_instances,
                waitLimitSeconds=guard.wait_limit_seconds,
            ),
        },
        "limits": {
            "maxBodyBytes": settings.max_body_bytes,
            "maxHeldBytes": settings.max_held_bytes,
            "maxFileBytes": settings.max_file_bytes,
            "requestSeconds": settings.request_seconds,
            "silenceSeconds": settings.silence_seconds,
            "leaveSeconds": settings.leave_seconds,
            "shutdownSeconds": settings.shutdown_seconds,
        },
        "cluster": {
            "namespace": settings.models_namespace,
            **({"groups": True} if settings.groups_of_pods else {}),
            **({"adapters": {"namespace": settings.namespace, "name": ADAPTERS}} if settings.loads_adapters else {}),
        },
        **({"cors": {"origins": list(settings.cors_origins)}} if settings.cors_origins else {}),
        **({} if settings.database is None else {"database": _database(settings.database)}),
    }


def _database(database: Database) -> Document:
    closed = {"limitsWhileAway": "closed"} if database.limits_while_away == "closed" else {}
    pools = [
        {
            "name": pool.name,
            "labels": dict(pool.labels),
            "gpuResource": pool.gpu_resource,
            **_without_none(usdPerHour=pool.usd_per_hour),
            "standing": pool.standing,
        }
        for pool in database.pools
    ]
    warm = [{**asdict(hours), "days": list(hours.days)} for hours in database.warm]
    kept = _without_none(usageDays=database.usage_days)
    return {"folder": DATABASE_FOLDER, "tls": database.tls, **closed, **kept, "pools": pools, "warm": warm}


def _model(model: RoutedModel) -> Document:
    return {
        "name": model.name,
        "host": model.host,
        "gpus": model.gpus,
        "holdSeconds": model.hold_seconds,
        "aliases": list(model.aliases),
        **_without_none(
            usdPerHour=model.usd_per_hour,
            byPrefix=model.by_prefix or None,
            mostWaiting=model.most_waiting,
            mostSequences=model.most_sequences,
            task=None if model.task == "chat" else model.task,
            coldStartSeconds=model.cold_start_seconds,
            wakeSeconds=dict(model.wake_seconds) or None,
            contextTokens=model.context_tokens if model.longer else None,
            longer=model.longer,
            askedAs=model.asked_as,
            adapters=[{"name": name, "root": root} for name, root in sorted(model.adapters.items())] or None,
            hotAdapters=model.hot_adapters or None,
            batchAtOnce=model.batch_at_once,
            takesTurns=model.takes_turns or None,
        ),
    }


def _without_none(**values: Any) -> Document:
    """Return the values that are not None: for those left out the process has its own."""
    return {key: value for key, value in values.items() if value is not None}


def gateway_yaml(settings: GatewaySettings) -> str:
    """Return ``gateway.yaml`` as text, stable from run to run."""
    return yaml.safe_dump(gateway_document(settings), sort_keys=False)


def checksum(text: str) -> str:
    """Return a checksum for a pod annotation: a changed configuration has to roll the pods."""
    return hashlib.sha256(text.encode()).hexdigest()


def digest_of(key: str) -> str:
    """Return the form in which a key is stored."""
    return hashlib.sha256(key.encode()).hexdigest()


def keys_json(settings: GatewaySettings, digests: Mapping[str, str]) -> str:
    """Return ``keys.json``: ``digests`` holds the sha256 of every key by the key's name."""
    return json.dumps(
        {
            "keys": [
                {"name": key.name, "sha256": digests[key.name].lower(), "group": key.group, **_limits(key.limits)}
                for key in settings.keys
            ],
            "groups": {name: _group(group) for name, group in sorted(settings.groups.items())},
        },
        indent=2,
    )


def _group(group: Group) -> Document:
    return {
        "models": list(group.models),
        **_without_none(
            wake=None if group.wake is None else list(group.wake),
            loadAdapters=sorted(group.load_adapters) or None,
            admin=group.admin or None,
        ),
        **_limits(group.limits),
    }


def _limits(limits: UsageLimits) -> Document:
    return _without_none(**{to_camel(name): most for name, most in asdict(limits).items()})
