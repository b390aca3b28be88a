"""Replicas that take a model's requests now, this process's requests in each, and the choice for the next request."""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from ebbtide_kube.api import model_of

_REST_SECONDS = 5.0
_QUARTER, _SOME = 1.25, 2  # load above an even share (factor, surplus) up to which a cache is worth a wait
_LETTERS = 1024  # of a prompt: requests that begin alike go to one replica and its prefix cache
Slices = Mapping[str, Mapping[str, Any]]


def beginning(document: Mapping[str, Any]) -> bytes:
    """Return the beginning of a checked body's prompt. For a chat it is the first user message, which stays the same
    from turn to turn, and differs between two chats under one system prompt, which every replica soon has in its cache.
    For anything else it is the start of the prompt or input.
    """
    messages = document.get("messages")
    if isinstance(messages, list):
        turns = [each for each in messages if isinstance(each, Mapping) and each.get("role") == "user"] or messages
        return _start(turns[0].get("content") if turns and isinstance(turns[0], Mapping) else turns)
    return _start(document.get("prompt", document.get("input")))


def _start(value: Any) -> bytes:
    text = value if isinstance(value, str) else json.dumps(value)
    return text[:_LETTERS].encode(errors="surrogatepass")


def preferred(prompt: bytes, addresses: Sequence[str]) -> list[str]:
    """Return all addresses in this prompt's order of preference (rendezvous hashing): an address that comes or goes
    changes the first choice of its own share of the prompts alone.
    """
    return sorted(addresses, key=lambda at: hashlib.blake2b(prompt + b"\0" + at.encode(), digest_size=8).digest())


class Replicas:
    """Replicas of the models and their requests. ``observe`` returns the models' EndpointSlices by name, or None when
    unknown: then no engine is known. It is called again after ``changed``.
    """

    def __init__(self, observe: Callable[[], Slices | None], clock: Callable[[], float] = time.monotonic) -> None:
        self._observe = observe
        self._clock = clock
        self._ready: Mapping[str, Sequence[str]] | None = None
        self._inside: Counter[str] = Counter()
        self._of_model: Counter[str] = Counter()
        self._last: dict[str, float] = {}
        self._resting: dict[str, float] = {}

    def changed(self) -> None:
        """Forget the ready replicas: the cluster changed."""
        self._ready = None

    def pick(self, model: str, prompt: bytes | None = None, without: Collection[str] = ()) -> str | None:
        """Return ``host:port`` of the replica with the fewest of this process's requests, at random among equals. With
        a ``prompt``, return the replica for prompts with that beginning unless it has much more than an even share.
        None: no replica outside ``without`` is known to be ready.
        """
        ready = [at for at in self.ready(model) if at not in without]
        if not ready:
            return None
        if prompt is not None:
            even = (sum(self._inside[at] for at in ready) + 1) / len(ready)
            most = _QUARTER * even + _SOME
            return next(at for at in preferred(prompt, ready) if self._inside[at] + 1 <= most)
        fewest = min(self._inside[at] for at in ready)
        return random.choice([at for at in ready if self._inside[at] == fewest])  # noqa: S311

    def any(self, model: str) -> bool:
        """Return True if a replica is known that takes requests."""
        return bool(self.ready(model))

    @property
    def are_seen(self) -> bool:
        """Return True if it is known which replicas there are."""
        return self._observe() is not None

    def is_leaving(self, address: str) -> bool:
        """Return True if the cluster is removing a replica: requests in it are lost, through no fault of its engine."""
        slices = self._observe()
        return slices is not None and address not in staying(slices)

    def ready(self, model: str) -> list[str]:
        """Return the replicas that take requests now."""
        if self._ready is None:
            self._ready = addresses(self._observe() or {})
        now = self._clock()
        return [at for at in self._ready.get(model, ()) if self._resting.get(at, now) <= now]

    def enter(self, model: str, address: str, *, rides: bool = False) -> Callable[[], None]:
        """Count a request sent to that replica. Call the returned function once the request has ended, however it
        ended; further calls do nothing. One that ``rides`` is none of the model's: it must not keep it awake.
        """
        self._inside[address] += 1
        if not rides:
            self._of_model[model] += 1
        left = False

        def leave() -> None:
            nonlocal left
            if left:
                return
            left = True
            self._inside[address] -= 1
            if not self._inside[address]:
                del self._inside[address]  # addresses come and go for as long as this process runs
            if not rides:
                self._of_model[model] -= 1
                self._last[model] = self._clock()

        return leave

    def missed(self, address: str) -> None:
        """Rest a replica that did not answer as a ready one does: it gets nothing for a moment, after which the cluster
        has noticed what became of it or it is well again.
        """
        now = self._clock()
        self._resting = {at: until for at, until in self._resting.items() if until > now}
        self._resting[address] = now + _REST_SECONDS

    def inside(self) -> Mapping[str, int]:
        """Return this process's requests in each replica, by address; replicas without any are left out."""
        return dict(self._inside)

    def in_flight(self, model: str) -> int:
        """Return the number of this process's requests in the model's replicas."""
        return self._of_model[model]

    def idle_seconds(self, model: str) -> float:
        """Return seconds since this process's last request left one of the model's replicas; infinite before any."""
        return self._clock() - self._last[model] if model in self._last else float("inf")


def addresses(slices: Slices) -> dict[str, list[str]]:
    """Return ``host:port`` of the ready endpoints by model, each once: slices being rearranged may name one twice."""
    endpoints: dict[str, set[str]] = {}
    for item in slices.values():
        endpoints.setdefault(model_of(item), set()).update(_ready(item))
    return {model: sorted(each) for model, each in endpoints.items()}


def staying(slices: Slices) -> set[str]:
    """Return ``host:port`` of the endpoints that are not terminating, ready or not."""
    return {at for item in slices.values() for at in _endpoints(item, "terminating", unless=True)}


def _ready(item: Mapping[str, Any]) -> Iterator[str]:
    # the API's own rule: a missing condition counts as true
    return _endpoints(item, "ready", unless=False)


def _endpoints(item: Mapping[str, Any], condition: str, unless: bool) -> Iterator[str]:
    """Yield ``host:port`` of a slice's endpoints, except those whose ``condition`` is ``unless``."""
    port = next((port["port"] for port in item.get("ports") or () if port.get("port")), None)
    for endpoint in item.get("endpoints") or ():
        if port is None or (endpoint.get("conditions") or {}).get(condition) is unless:
            continue
        for host in endpoint["addresses"][:1]:
            yield f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
