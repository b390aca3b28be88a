"""What a place can be asked before a first deploy: the contract of its ``doctor.py``.

A folder's ``doctor.py`` has ``checks(settings, pools, about, tools)``, which yields every question with the function
that asks it; ``ebbtide doctor`` asks them all at once. Only reading calls leave ``Tools``: it refuses any other.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import datetime
from email.utils import parsedate_to_datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

import httpx

from components.platforms.contract import About, PoolRequest
from components.typed.tables import read_table

Outcome = Literal["ok", "problem", "unknown"]

_READS = re.compile(r"(Describe|Get|List|Simulate|BatchGet|testIamPermissions$|checkName|SelfSubjectAccessReview$)")
_MOST_SKEW_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One line of the report. ``fix`` is what to do about a problem, or about what could not be asked."""

    outcome: Outcome
    text: str
    fix: str = ""


def good(text: str) -> Answer:
    """Return the answer that all is well."""
    return Answer(outcome="ok", text=text)


def problem(text: str, fix: str) -> Answer:
    """Return the answer that a deploy would fail."""
    return Answer(outcome="problem", text=text, fix=fix)


class CannotAsk(Exception):
    """A question without an answer: why, and what to do about it. Neither contains a secret."""

    def __init__(self, why: str, fix: str = "") -> None:
        super().__init__(why)
        self.why, self.fix = why, fix

    def answer(self) -> Answer:
        return Answer(outcome="unknown", text=f"cannot be asked: {self.why}", fix=self.fix)


class NotSignedIn(CannotAsk):
    """The user's credentials are missing, expired or refused."""


@dataclass(frozen=True, kw_only=True)
class Check:
    """One question. ``ask`` yields its answers, or raises ``CannotAsk``."""

    subject: str
    ask: Callable[[], Iterator[Answer]]


@dataclass(frozen=True, kw_only=True)
class Tools:
    """The ways out of this machine. ``run`` returns the output of a program, ``cluster`` a client for a context of a
    kubeconfig; both raise ``CannotAsk``. ``documents`` is the folder of pages that list the deployer's rights.
    ``secrets`` are those that the places read; no output may show one."""

    client: httpx.Client
    environ: Mapping[str, str]
    run: Callable[[Sequence[str]], str]
    cluster: Callable[[str | None, str | None], httpx.Client]
    documents: Path
    now: datetime
    secrets: set[str] = field(default_factory=set, repr=False)

    def get(self, url: str, headers: Mapping[str, str] | None = None, method: str = "GET") -> httpx.Response:
        """Return the answer to a GET or HEAD. Raises ``CannotAsk`` if there is none."""
        if method not in ("GET", "HEAD"):
            raise ValueError(f"{method} may write")
        return self._response(method, url, headers or {}, None)

    def post(self, action: str, url: str, headers: Mapping[str, str], body: bytes) -> httpx.Response:
        """Return the answer to a POST that only reads, as its ``action`` says. Raises ``CannotAsk``."""
        if not _READS.match(action):
            raise ValueError(f"{action} may write")
        return self._response("POST", url, headers, body)

    def _response(self, method: str, url: str, headers: Mapping[str, str], body: bytes | None) -> httpx.Response:
        try:
            # a redirect could lead a signed request elsewhere
            return self.client.request(method, url, headers=headers, content=body, follow_redirects=False)
        except httpx.TimeoutException:
            raise CannotAsk(
                f"{httpx.URL(url).host} does not answer in time", "look at the network and its proxy"
            ) from None
        except httpx.InvalidURL:
            raise CannotAsk("its address is not one of the web", "correct it in the stack file") from None
        except httpx.HTTPError as error:
            raise CannotAsk(
                f"{httpx.URL(url).host} cannot be reached ({type(error).__name__})", "look at the network and its proxy"
            ) from None


@cache
def facts_beside(module: str) -> Mapping[str, Any]:
    """Return the facts beside a place's ``doctor.py``, whose ``__file__`` is given."""
    facts: Mapping[str, Any] = read_table(Path(module).with_suffix(".yaml"))
    return facts


Checks = Callable[[Any, Mapping[str, PoolRequest], About, Tools], Iterator[Check]]


def document(answer: httpx.Response) -> Any:
    """Return an answer's JSON. Raises ``CannotAsk`` if it is none, as that of a proxy's login page."""
    try:
        return answer.json()
    except ValueError:
        raise CannotAsk(f"{answer.url.host} answers {answer.status_code} without JSON") from None


def clock(tools: Tools, url: str) -> Check:
    """Return the check of this machine's clock against a server's: signatures and tokens hang on it."""

    def ask() -> Iterator[Answer]:
        date = tools.get(url, method="HEAD").headers.get("date", "")
        try:
            skew = (tools.now - parsedate_to_datetime(date)).total_seconds()
        except (ValueError, TypeError):
            raise CannotAsk(f"{httpx.URL(url).host} does not say its time") from None
        if abs(skew) > _MOST_SKEW_SECONDS:
            yield problem(
                f"this machine is {abs(skew):.0f} s {'ahead' if skew > 0 else 'behind'}: it will be refused",
                "set the clock, for example: timedatectl set-ntp true",
            )
        else:
            yield good(f"within {_MOST_SKEW_SECONDS} s of {httpx.URL(url).host}")

    return Check(subject="clock", ask=ask)


def within(needed: float, limit: float, used: float | None, unit: str, fix: str) -> Answer:
    """Return whether a quota has room for what the stack needs at most; ``used`` None: the place does not say."""
    left = limit - (used or 0)
    have = f"{limit:g} {unit}".strip() + (
        f", {used:g} in use" if used is not None else ", of which others may use some"
    )
    if needed > left:
        return problem(f"{have}; the stack needs up to {needed:g}", fix)
    return good(f"{have}; the stack needs up to {needed:g}")


def name_of(tags: Mapping[str, str] | None, key: str, stack: str) -> Answer:
    """Return whether a name can be the stack's, by the tags of what has it; None: nothing has."""
    if tags is None:
        return good("the name is free")
    if tags.get(key) == stack:
        return good("is this stack's own, from an earlier `up`")
    return problem("something else has the name", "give the stack another name, or delete that one")


def certificate(names: Iterable[str], end: datetime | None, host: str, now: datetime) -> Answer:
    """Return whether a certificate is valid and for ``host``; nothing is said of names or an end that are unknown."""
    known = sorted(filter(None, names))
    if end is not None and end < now:
        return problem(f"has expired on {end:%Y-%m-%d}", "renew it, or name another one in ingress.certificate")
    if known and not {host, f"*.{host.partition('.')[2]}"} & set(known):
        return problem(f"is for {', '.join(known)}", f"name one for {host} in ingress.certificate")
    return good(f"there, valid until {end:%Y-%m-%d}" if end is not None else "there; until when is not said")


def machine_zones(
    system: str | None, pools: Mapping[str, PoolRequest], usual: Sequence[str]
) -> Mapping[str, AbstractSet[str]]:
    """Return the zones by machine: a pool's own, else the ``usual`` ones. ``system`` is that of nodes without GPUs."""
    zones: dict[str, set[str]] = {system: set(usual)} if system is not None else {}
    for request in pools.values():
        if request.machine is not None:
            zones.setdefault(request.machine.name, set()).update(request.zones or usual)
    return zones
