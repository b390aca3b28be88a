"""Metrics for Prometheus, on a port of their own: reading them needs no key, so clients do not reach that port."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from .access_log import Record
from .budgets import LATELY, Budgets
from .replicas import Replicas

_WAKE_SECONDS = (1, 2, 5, 10, 20, 30, 60, 120, 180, 300, 600, 900, 1800)
Values = Mapping[tuple[str, ...], float]
# answers by which the gateway kept a model from being woken, or its GPUs from being used
_REFUSALS = frozenset(
    {
        *("gpus_in_use", "instances_in_use", "queue_full", "wake_not_allowed", "wake_budget", "request_ends_engine"),
        *("request_limit", "token_limit", "daily_token_limit", "monthly_token_limit", "concurrency_limit"),
        *("daily_dollar_limit", "monthly_dollar_limit"),
    }
)

_HOLDER = ("group", "key")
_LATELY = {
    "requests": (
        "ebbtide_gateway_minute_requests",
        "Requests of a group or a key with a limit in this process, in the last 60 seconds.",
    ),
    "tokens": (
        "ebbtide_gateway_minute_tokens",
        "Tokens of a group or a key with a limit in this process, of requests that ended in the last 60 seconds.",
    ),
    "concurrent": (
        "ebbtide_gateway_concurrent_requests",
        "Requests of a group or a key with a limit that this process is answering.",
    ),
}


def _holder(label: str) -> tuple[str, str]:
    """Return a holder's values of the labels ``group`` and ``key``, one of them empty."""
    kind, _, name = label.partition(":")
    return (name, "") if kind == "group" else ("", name)


class _AsAsked(Collector):
    """Gauge that is read when it is scraped: replicas and days come and go, and a label once set would stay. ``values``
    returns each value by its values of the ``labels``.
    """

    def __init__(self, name: str, what: str, labels: Sequence[str], values: Callable[[], Values]) -> None:
        self._empty = partial(GaugeMetricFamily, name, what, labels=labels)
        self._values = values

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return [self._empty()]

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = self._empty()
        for labels, value in self._values().items():
            family.add_metric(labels, value)
        return [family]


class Metrics:
    """Counts of one process. Labels are names from the configuration: no client can invent a new one."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "ebbtide_gateway_requests",
            "Requests answered; model and group are empty where it did not get that far.",
            ("model", "group", "status"),
            registry=self.registry,
        )
        self._held = Gauge(
            "ebbtide_gateway_held_requests",
            "Requests that wait now for a model that slept when they came.",
            ("model",),
            registry=self.registry,
        )
        self._wakes = Histogram(
            "ebbtide_gateway_wake_seconds",
            "From a request for a sleeping model to its first byte.",
            ("model",),
            buckets=_WAKE_SECONDS,
            registry=self.registry,
        )
        self._refused = Counter(
            "ebbtide_gateway_refusals",
            "Requests that the guard, a full queue, a wake right or a budget refused, or that engines ended with.",
            ("model", "group", "code"),
            registry=self.registry,
        )
        self._engine_deaths = Counter(
            "ebbtide_gateway_engine_deaths",
            "Engines that ended while they had requests of this process.",
            ("model",),
            registry=self.registry,
        )

    def count(self, replicas: Replicas, models: Iterable[str]) -> None:
        """Expose what ``replicas`` knows of each model: the wake keeper sums it up for KEDA."""
        inside = Gauge(
            "ebbtide_gateway_in_flight_requests",
            "Requests that the model's replicas work on for this process.",
            ("model",),
            registry=self.registry,
        )
        idle = Gauge(
            "ebbtide_gateway_idle_seconds",
            "Since this process's last request left a replica of the model; infinite before the first.",
            ("model",),
            registry=self.registry,
        )
        for model in models:
            inside.labels(model).set_function(partial(replicas.in_flight, model))
            idle.labels(model).set_function(partial(replicas.idle_seconds, model))
        self.registry.register(
            _AsAsked(
                "ebbtide_gateway_replica_requests",
                "Requests that a replica works on for this process; replicas without any are not named.",
                ("replica",),
                lambda: {(address,): count for address, count in replicas.inside().items()},
            )
        )

    def count_used(self, budgets: Budgets) -> None:
        """Expose the usage of groups and keys to the wake keeper: the other processes learn it there, and wakes are
        remembered when this process is gone.
        """

        def wakes() -> Values:
            day, begun = budgets.begun()
            return {(str(day), *_holder(label), budgets.process): count for label, count in begun.items()}

        def lately(what: str) -> Values:
            return {(*_holder(label), budgets.process): count for label, count in budgets.lately()[what].items()}

        what = "Wakes that a group, or a key with a limit, has begun here today; the day in days since 1970, UTC."
        self.registry.register(_AsAsked("ebbtide_gateway_day_wakes", what, ("day", *_HOLDER, "process"), wakes))
        for counted in LATELY:
            name, what = _LATELY[counted]
            self.registry.register(_AsAsked(name, what, (*_HOLDER, "process"), partial(lately, counted)))

    def count_database(self, is_up: Callable[[], bool], waiting: Callable[[], int]) -> Callable[[], None]:
        """Expose whether the database answers and how much usage is to be written; return what counts a lost row."""
        what = "1 while the database answers this process, else 0."
        Gauge("ebbtide_gateway_database_up", what, registry=self.registry).set_function(is_up)
        what = "Requests whose usage is in memory alone."
        Gauge("ebbtide_gateway_usage_waiting", what, registry=self.registry).set_function(waiting)
        what = "Requests whose usage is lost, because the database was away for too long."
        return Counter("ebbtide_gateway_usage_dropped", what, registry=self.registry).inc

    def serve(self, host: str, port: int) -> None:
        """Answer scrapes in a thread until the process ends."""
        start_http_server(port, host, self.registry)

    @contextmanager
    def holding(self, model: str) -> Iterator[None]:
        """Count a request as waiting while the context lasts."""
        held = self._held.labels(model)
        held.inc()
        try:
            yield
        finally:
            held.dec()

    def woke(self, model: str, seconds: float) -> None:
        """Record the seconds until a request that found the model asleep had its first byte."""
        self._wakes.labels(model).observe(seconds)

    def engine_died(self, model: str) -> None:
        """Count an engine that ended with requests in it."""
        self._engine_deaths.labels(model).inc()

    def finished(self, record: Record) -> None:
        """Count a request that has ended."""
        model, group = record.model or "", record.group or ""
        self._requests.labels(model, group, str(record.status)).inc()
        if record.code in _REFUSALS:
            self._refused.labels(model, group, record.code).inc()
