"""The mounted ``gateway.yaml``, typed. Unknown keys are refused: a typo must not silently lift a limit."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Literal

import yaml
from ebbtide_kube.wake_progress import Phase
from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from .routes import Task


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class Adapter(_Frozen):
    """A LoRA adapter in a model's engines. ``root``: the id of its weights, which the list of models shows. ``loaded``:
    by a call, so that every engine finds it by its name, or nobody does."""

    name: str
    root: str
    loaded: bool = False


class Model(_Frozen):
    """One served model. ``host``: the name the interceptor routes by. ``gpus``: of one replica. ``usd_per_hour``: cost
    of the nodes that a wake may start; None: unknown. ``by_prefix``: prompts that begin alike go to the same replica.
    ``most_waiting``: requests that may wait at once while no replica answers; None: any number. ``most_sequences``: how
    many one replica works on or queues, so no request may ask for more; None: any number. ``task``: the one its engine
    was started for. ``cold_start_seconds``: the longest a start may take. ``wake_seconds``: how long each phase
    of a wake should take by the plan, as far as it knows, until there were wakes. ``longer``: the model that gets the
    requests which might not fit into ``context_tokens``, prompt and answer together; it has no name of its own to
    clients, and is asked for as ``asked_as``. ``adapters`` are further names, each with rights of its own; ``adapter``
    is the one that a request asked for (``by_any_name``), and all else is that of the model in whose engines it runs.
    ``hot_adapters``: how many more a call may load (``loaded_adapters.py``). ``batch_at_once``: lines of batches that
    this process may have in it at once. ``takes_turns``: its engines share their cards with others' and have one only
    while somebody asks.
    """

    name: str
    host: str
    gpus: int = Field(ge=0)
    hold_seconds: float = Field(gt=0)
    aliases: tuple[str, ...] = ()
    usd_per_hour: float | None = Field(default=None, ge=0)
    by_prefix: bool = False
    most_waiting: int | None = Field(default=None, ge=1)
    most_sequences: int | None = Field(default=None, ge=1)
    task: Task = "chat"
    cold_start_seconds: float | None = Field(default=None, gt=0)
    wake_seconds: Mapping[Phase, float] = {}
    context_tokens: int | None = Field(default=None, ge=1)
    longer: str | None = None
    asked_as: str | None = None
    adapters: tuple[Adapter, ...] = ()
    adapter: Adapter | None = None
    hot_adapters: int = Field(default=0, ge=0)
    batch_at_once: int = Field(default=4, ge=1)
    takes_turns: bool = False

    @property
    def public_name(self) -> str:
        """Return the name that clients ask for and groups have rights to."""
        return self.asked_as or self.engine_name

    @property
    def engine_name(self) -> str:
        """Return the name by which the engine is asked: the adapter's, else the model's own."""
        return self.adapter.name if self.adapter is not None else self.name


class Guard(_Frozen):
    """Rules for a sleeping model that would take more GPUs, or run as one instance more, than the stack may have.

    ``wait_limit_seconds`` bounds the wait for room; None takes the model's own hold.
    """

    max_gpus: int | None = Field(default=None, ge=0)
    max_instances: int | None = Field(default=None, ge=1)
    when_full: Literal["wait", "refuse"] = "wait"
    wait_limit_seconds: float | None = Field(default=None, gt=0)


class Limits(_Frozen):
    """Bounds on requests and connections. ``request_seconds`` is the longest that upstream may send no byte of an
    answer. ``max_held_bytes``: limit for the bodies of all requests together, ``max_file_bytes``: for the files in
    their forms, which lie on disk.

    For clients that have shown no key: ``head_bytes`` and ``head_seconds`` bound a request's headers, ``idle_seconds``
    a connection without a request, ``keyless_connections`` their number. For all clients: ``silent_body_seconds`` is
    how long nothing may come of a body, ``reader_seconds`` how long a client may read nothing of its answer.

    ``silence_seconds``: how often a client that asked for a stream is sent a comment while it waits for its first byte;
    None: never.

    A process that is told to go takes requests for ``leave_seconds`` more, until nobody sends it any; those it has may
    then take ``shutdown_seconds``.
    """

    max_body_bytes: int = Field(default=32 * 1024 * 1024, gt=0)
    max_held_bytes: int = Field(default=512 * 1024 * 1024, gt=0)
    max_file_bytes: int = Field(default=1024 * 1024 * 1024, gt=0)
    head_bytes: int = Field(default=64 * 1024, gt=0)
    head_seconds: float = Field(default=30, gt=0)
    idle_seconds: float = Field(default=75, gt=0)
    keyless_connections: int = Field(default=1024, gt=0)
    silent_body_seconds: float = Field(default=60, gt=0)
    reader_seconds: float = Field(default=300, gt=0)
    request_seconds: float = Field(default=3600, gt=0)
    silence_seconds: float | None = Field(default=None, gt=0)
    leave_seconds: float = Field(default=0, ge=0)
    shutdown_seconds: int = Field(default=300, ge=0)


class Cors(_Frozen):
    """Origins whose pages may read answers, ``*`` for all of them."""

    origins: tuple[str, ...] = ()


class AdapterList(_Frozen):
    """The ConfigMap in which the adapters are listed that calls have loaded."""

    namespace: str
    name: str


class Cluster(_Frozen):
    """Source of the guard's count of taken GPUs. ``api_server`` None: the pod's own cluster. ``groups``: some models
    run as LeaderWorkerSets. ``adapters``: None where no model takes adapters by a call.
    """

    namespace: str = "ebbtide-models"
    groups: bool = False
    api_server: str | None = None
    adapters: AdapterList | None = None


class PaidPool(_Frozen):
    """Node pool and what a node of it costs. ``labels``: those that all of its nodes have; ``gpu_resource``: what pods
    ask for there; ``usd_per_hour`` None: unknown; ``standing``: its nodes are there whether or not anybody asks.
    """

    name: str
    labels: dict[str, str] = Field(min_length=1)
    gpu_resource: str = "nvidia.com/gpu"
    usd_per_hour: Decimal | None = Field(default=None, ge=0)
    standing: bool = False


class WarmHours(_Frozen):
    """Hours in which the stack file keeps ``replicas`` of a model: on ``days`` (0 is Monday) from minute ``start`` of
    the day to ``end``, on the next day if that is not later. They are started ``ahead`` minutes before.
    """

    model: str
    replicas: int = Field(default=1, ge=1)
    days: frozenset[int] = frozenset(range(7))
    start: int = Field(default=0, ge=0, lt=1440)
    end: int = Field(default=1440, ge=0, le=1440)
    timezone: str = "UTC"
    ahead: int = Field(default=0, ge=0, le=1440)


class Database(_Frozen):
    """Database of keys and usage. ``folder``: the mounted Secret with its URI; ``tls``: what its server has to prove.
    ``known_seconds``: how long a key that is known goes on while it is away; ``poll_seconds``: how often it is asked
    which keys were changed. ``limits_while_away``: whether requests whose limit needs its sums pass meanwhile, up to
    what this process knows of them, or get 503. ``sum_seconds``: how often it is asked for sums that somebody needs.
    ``usage_days``: for how long usage is kept, None: for ever; ``forget_seconds``: how often what is older is deleted.
    ``pools`` and ``warm``: what the ledger has to know; ``seen_seconds``: how often it is written what is still there.
    ``batch_seconds``: how often it is asked for batches. ``charge_seconds``: how often it is charged what limits of
    dollars have to know.
    """

    folder: Path
    tls: Literal["verify", "encrypt", "off"] = "verify"
    known_seconds: float = Field(default=3600, ge=0)
    poll_seconds: float = Field(default=2, gt=0)
    limits_while_away: Literal["open", "closed"] = "open"
    sum_seconds: float = Field(default=5, gt=0)
    usage_days: int | None = Field(default=None, ge=63)
    forget_seconds: float = Field(default=3600, gt=0)
    pools: tuple[PaidPool, ...] = ()
    warm: tuple[WarmHours, ...] = ()
    seen_seconds: float = Field(default=60, gt=0)
    batch_seconds: float = Field(default=1, gt=0)
    charge_seconds: float = Field(default=300, gt=0)


class Settings(_Frozen):
    """All settings but the keys. ``keeper_url``: address of the wake keeper, which knows what groups use elsewhere.
    ``database`` None: every key is in the key file, and usage in the log alone.
    """

    interceptor_url: str
    keeper_url: str | None = None
    models: tuple[Model, ...] = ()
    guard: Guard = Guard()
    limits: Limits = Limits()
    cluster: Cluster = Cluster()
    cors: Cors = Cors()
    database: Database | None = None

    def by_any_name(self) -> dict[str, Model]:
        """Return the models by name, by alias and by each adapter; a name wins over another model's alias. Those that
        clients may not ask by name are among them."""
        names = {alias: model for model in self.models for alias in model.aliases}
        adapters = {
            adapter.name: model.model_copy(update={"adapter": adapter})
            for model in self.models
            for adapter in model.adapters
        }
        return adapters | names | {model.name: model for model in self.models}


def load(path: Path) -> Settings:
    """Read and check the file; raises ``OSError``, ``yaml.YAMLError`` or ``pydantic.ValidationError``."""
    return Settings.model_validate(yaml.safe_load(path.read_text()))
