"""Options of ``ebbtide bench``, judged before a request is sent. Imported for every command, so kept light."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

import typer

from infra.errors import UsageError

CONCURRENCY = "1,8,32"
TTFT_LIMIT, TPOT_LIMIT = 10.0, 0.25
"""Seconds: limits for a model that serves well, on p90 of the first token and of each that follows."""
MOST = 512
_MOST_AT_ONCE = 4096


@dataclass(frozen=True)
class Level:
    """One level of load: requests at once (a closed loop), or requests per second (an open loop)."""

    concurrency: int | None = None
    rate: float | None = None

    @property
    def description(self) -> str:
        return f"{self.concurrency} at once" if self.rate is None else f"{self.rate:g} a second"


@dataclass(frozen=True, kw_only=True)
class Options:
    url: Annotated[str | None, typer.Option(help="An OpenAI-compatible endpoint; default: the local stack's.")] = None
    model: Annotated[str | None, typer.Option(help="Default: the stack's first, or the only one there is.")] = None
    key_env: Annotated[str | None, typer.Option(help="The variable with the key; default: the local demo key.")] = None
    host_header: Annotated[str | None, typer.Option(help="A Host header other than the address's own.")] = None
    against: Annotated[str | None, typer.Option(help="Another endpoint, measured in turns in the same run.")] = None
    against_model: Annotated[str | None, typer.Option(help="Its name of the model; default: the same.")] = None
    against_key_env: Annotated[str | None, typer.Option(help="The variable with its key; default: none.")] = None
    against_host_header: Annotated[str | None, typer.Option(help="A Host header for it.")] = None
    concurrency: Annotated[
        str | None, typer.Option(help="So many at once, one level each; 1,8,32 if nothing else is asked for.")
    ] = None
    rate: Annotated[
        str | None, typer.Option(help="So many a second whether answered or not, one level each, like 0.5,2.")
    ] = None
    requests: Annotated[
        int | None, typer.Option(help="Requests of a level and side; default: 4 each at once, 32 at least.")
    ] = None
    seconds: Annotated[float | None, typer.Option(help="In place of a number: how long a level and side lasts.")] = None
    input_tokens: Annotated[int, typer.Option(help="Tokens of a prompt, about.")] = 200
    output_tokens: Annotated[int, typer.Option(help="Tokens of an answer.")] = 100
    exact: Annotated[bool, typer.Option(help="Ask for exactly so many (vLLM's ignore_eos), or at most.")] = True
    stream: Annotated[bool, typer.Option(help="Token by token, or in one piece.")] = True
    turns: Annotated[int, typer.Option(help="Parts of a level between which the two endpoints take turns.")] = 2
    warm_up: Annotated[int | None, typer.Option(help="Requests before each level that do not count.")] = None
    seed: Annotated[int, typer.Option(help="The same seed, the same prompts and times.")] = 1
    limit_seconds: Annotated[
        float, typer.Option("--time-limit", help="Seconds after which a request counts as lost.")
    ] = 900.0
    yardstick: Annotated[bool, typer.Option("--yardstick", help="Find the most at once that are served well.")] = False
    ttft_limit: Annotated[float, typer.Option(help="--yardstick: p90 of the first token under so many seconds.")] = (
        TTFT_LIMIT
    )
    tpot_limit: Annotated[float, typer.Option(help="--yardstick: p90 of a token under so many seconds.")] = TPOT_LIMIT
    most: Annotated[int, typer.Option(help="--yardstick: never more at once than this.")] = MOST
    cold: Annotated[int, typer.Option(help="Wake the sleeping model so many times.")] = 0
    idle: Annotated[float | None, typer.Option(help="--cold with --url: silence before each.")] = None
    format: Annotated[
        Literal["text", "json", "html"], typer.Option("--format", help="How to show it on standard output.")
    ] = "text"
    out: Annotated[str | None, typer.Option(help="Keep the result as JSON in this file.")] = None
    plot: Annotated[str | None, typer.Option(help="Draw it: a .html, or a .png where Chromium is there.")] = None
    from_file: Annotated[str | None, typer.Option("--from", help="Show a kept result; measure nothing.")] = None

    def levels(self) -> tuple[Level, ...]:
        """Return levels of concurrency where it is named or nothing else is asked for; then levels of rate."""
        alone = self.rate is None and not self.yardstick and not self.cold
        counts = self.concurrency or (CONCURRENCY if alone else "")
        return (
            *(Level(concurrency=count) for count in _counts(counts)),
            *(Level(rate=rate) for rate in _rates(self.rate or "")),
        )


def check(options: Options) -> None:
    """Raise ``UsageError`` for the first option that cannot be."""
    options.levels()
    _addresses(options)
    if options.requests is not None and options.seconds is not None:
        raise UsageError("--requests and --seconds: only one of them says when a level ends; fix: leave one out")
    for name, value, least in (
        ("--requests", options.requests, 1), ("--seconds", options.seconds, 0.1), ("--turns", options.turns, 1),
        ("--input-tokens", options.input_tokens, 1), ("--output-tokens", options.output_tokens, 1),
        ("--warm-up", options.warm_up, 0),
        ("--time-limit", options.limit_seconds, 1), ("--cold", options.cold, 0), ("--most", options.most, 1),
        ("--ttft-limit", options.ttft_limit, 0.001), ("--tpot-limit", options.tpot_limit, 0.001),
        ("--idle", options.idle, 0),
    ):  # fmt: skip
        if value is not None and value < least:
            raise UsageError(f"{name} {value}: allowed: {least} or more")
    if options.yardstick and not options.stream:
        raise UsageError("--yardstick with --no-stream: without a stream nobody sees a first token; fix: leave one out")
    if options.cold and options.url and options.idle is None:
        raise UsageError(
            "--cold with --url: nobody tells from outside that a model sleeps; fix: --idle SECONDS, how long to ask "
            "nothing before each wake (the model's idleTtl and a minute more)"
        )
    if options.plot and Path(options.plot).suffix not in (".html", ".png"):
        raise UsageError(f"--plot {options.plot}: allowed: a file that ends in .html or .png")


def _addresses(options: Options) -> None:
    for option, url in (("--url", options.url), ("--against", options.against)):
        if url is None:
            continue
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise UsageError(f"{option} {url}: allowed: an address like http://127.0.0.1:8000")
        if parts.username or parts.password or parts.query:
            raise UsageError(
                f"{option}: an address with a user, a password or a query would be written into the result; allowed: "
                "scheme, host, port, path; fix: put the key into an environment variable and name that with --key-env"
            )
    if options.against is None and (options.against_model or options.against_key_env or options.against_host_header):
        raise UsageError("--against-…: there is nothing to compare with; fix: name the other endpoint with --against")


def _counts(text: str) -> tuple[int, ...]:
    counts = []
    for part in filter(None, (each.strip() for each in text.split(","))):
        if not part.isdecimal() or not 1 <= int(part) <= _MOST_AT_ONCE:
            raise UsageError(f"--concurrency {part}: allowed: whole numbers from 1 to {_MOST_AT_ONCE}, like 1,8,32")
        counts.append(int(part))
    return tuple(dict.fromkeys(counts))


def _rates(text: str) -> tuple[float, ...]:
    rates = []
    for part in filter(None, (each.strip() for each in text.split(","))):
        try:
            rate = float(part)
        except ValueError:
            rate = 0.0
        if not 0 < rate <= _MOST_AT_ONCE:
            raise UsageError(f"--rate {part}: allowed: requests a second above 0, like 2 or 0.5,2,8")
        rates.append(rate)
    return tuple(dict.fromkeys(rates))
