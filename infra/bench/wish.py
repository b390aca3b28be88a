"""What was typed after ``ebbtide bench``, judged before a request is sent."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from infra.bench.client import Endpoint, base
from infra.bench.yardstick import MOST, TPOT_LIMIT, TTFT_LIMIT
from infra.local.ask import Access
from infra.local.paths import Paths
from infra.local.problem import LocalProblem

CONCURRENCY = "1,8,32"
_MOST_AT_ONCE = 4096


class WrongUsage(Exception):
    """The text says where, what is allowed and the fix."""


@dataclass(frozen=True)
class Level:
    """One of the two: so many at once (a closed loop), or so many a second (an open loop)."""

    concurrency: int | None = None
    rate: float | None = None

    @property
    def told(self) -> str:
        return f"{self.concurrency} at once" if self.rate is None else f"{self.rate:g} a second"


@dataclass(frozen=True)
class Wish:
    url: str | None = None
    model: str | None = None
    key_env: str | None = None
    host_header: str | None = None
    against: str | None = None
    against_model: str | None = None
    against_key_env: str | None = None
    against_host_header: str | None = None
    concurrency: str | None = None
    rate: str | None = None
    requests: int | None = None
    seconds: float | None = None
    input_tokens: int = 200
    output_tokens: int = 100
    exact: bool = True
    stream: bool = True
    turns: int = 2
    warm_up: int | None = None
    seed: int = 1
    limit_seconds: float = 900.0
    yardstick: bool = False
    ttft_limit: float = TTFT_LIMIT
    tpot_limit: float = TPOT_LIMIT
    most: int = MOST
    cold: int = 0
    idle: float | None = None
    format: str = "text"
    out: str | None = None
    plot: str | None = None
    from_file: str | None = None

    def levels(self) -> tuple[Level, ...]:
        """Concurrency where it is named or nothing else is asked for; then rates."""
        alone = self.rate is None and not self.yardstick and not self.cold
        counts = self.concurrency or (CONCURRENCY if alone else "")
        return (
            *(Level(concurrency=count) for count in _counts(counts)),
            *(Level(rate=rate) for rate in _rates(self.rate or "")),
        )


def check(wish: Wish) -> None:
    """Raises ``WrongUsage`` for the first thing that cannot be."""
    wish.levels()
    _addresses(wish)
    if wish.requests is not None and wish.seconds is not None:
        raise WrongUsage("--requests and --seconds: only one of them says when a level ends; fix: leave one out")
    for name, value, least in (
        ("--requests", wish.requests, 1), ("--seconds", wish.seconds, 0.1), ("--input-tokens", wish.input_tokens, 1),
        ("--output-tokens", wish.output_tokens, 1), ("--turns", wish.turns, 1), ("--warm-up", wish.warm_up, 0),
        ("--time-limit", wish.limit_seconds, 1), ("--cold", wish.cold, 0), ("--most", wish.most, 1),
        ("--ttft-limit", wish.ttft_limit, 0.001), ("--tpot-limit", wish.tpot_limit, 0.001),
        ("--idle", wish.idle, 0),
    ):  # fmt: skip
        if value is not None and value < least:
            raise WrongUsage(f"{name} {value}: allowed: {least} or more")
    if wish.yardstick and not wish.stream:
        raise WrongUsage("--yardstick with --no-stream: without a stream nobody sees a first token; fix: leave one out")
    if wish.cold and wish.url and wish.idle is None:
        raise WrongUsage(
            "--cold with --url: nobody tells from outside that a model sleeps; fix: --idle SECONDS, how long to ask "
            "nothing before each wake (the model's idleTtl and a minute more)"
        )
    if wish.plot and Path(wish.plot).suffix not in (".html", ".png"):
        raise WrongUsage(f"--plot {wish.plot}: allowed: a file that ends in .html or .png")


def _addresses(wish: Wish) -> None:
    for option, url in (("--url", wish.url), ("--against", wish.against)):
        if url is None:
            continue
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise WrongUsage(f"{option} {url}: allowed: an address like http://127.0.0.1:8000")
        if parts.username or parts.password or parts.query:
            raise WrongUsage(
                f"{option}: an address with a user, a password or a query would be written into the result; allowed: "
                "scheme, host, port, path; fix: put the key into an environment variable and name that with --key-env"
            )
    if wish.against is None and (wish.against_model or wish.against_key_env or wish.against_host_header):
        raise WrongUsage("--against-…: there is nothing to compare with; fix: name the other endpoint with --against")


def _counts(text: str) -> tuple[int, ...]:
    found = []
    for part in filter(None, (each.strip() for each in text.split(","))):
        if not part.isdecimal() or not 1 <= int(part) <= _MOST_AT_ONCE:
            raise WrongUsage(f"--concurrency {part}: allowed: whole numbers from 1 to {_MOST_AT_ONCE}, like 1,8,32")
        found.append(int(part))
    return tuple(dict.fromkeys(found))


def _rates(text: str) -> tuple[float, ...]:
    found = []
    for part in filter(None, (each.strip() for each in text.split(","))):
        try:
            rate = float(part)
        except ValueError:
            rate = 0.0
        if not 0 < rate <= _MOST_AT_ONCE:
            raise WrongUsage(f"--rate {part}: allowed: requests a second above 0, like 2 or 0.5,2,8")
        found.append(rate)
    return tuple(dict.fromkeys(found))


def endpoints(wish: Wish, at: Paths, environ: Mapping[str, str] = os.environ) -> tuple[Endpoint, Endpoint | None]:
    """The measured one and the other. The local stack's key goes to the local stack alone. ``model`` is empty where
    the endpoint has to be asked which it has."""
    if wish.url is None:
        access = Access.load(at)
        key = _key(wish.key_env, environ) if wish.key_env else access.key
        measured = Endpoint(base(access.url), wish.model or access.models[0], key, wish.host_header)
    else:
        measured = Endpoint(base(wish.url), wish.model or "", _key(wish.key_env, environ), wish.host_header)
    if wish.against is None:
        return measured, None
    other = Endpoint(
        base(wish.against),
        wish.against_model or measured.model,
        _key(wish.against_key_env, environ),
        wish.against_host_header,
    )
    return measured, other


def _key(variable: str | None, environ: Mapping[str, str]) -> str | None:
    if variable is None:
        return None
    found = environ.get(variable, "").strip()
    if not found:
        raise LocalProblem(
            f"the environment has no {variable}, or it is empty", f"export {variable} with the endpoint's key in it"
        )
    return found
