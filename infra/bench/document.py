"""The result as one JSON document: what every other form of it is made from."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infra.bench.machine import machine, now, versions
from infra.bench.side import Side
from infra.bench.statistics import Summary, ratio
from infra.bench.wish import Level, Wish, WrongUsage

Document = dict[str, Any]
FORM = 1


def begun(wish: Wish) -> Document:
    """``complete`` turns true at the end alone: what a broken-off run leaves says so itself."""
    return {
        "what": "time to first token (ttft), seconds a token after it (tpot) and throughput of a served model",
        "form": FORM,
        "date": now(),
        "complete": False,
        "machine": machine(),
        "versions": versions(),
        "load": {
            "input_tokens": wish.input_tokens,
            "output_tokens": wish.output_tokens,
            "exact": wish.exact,
            "stream": wish.stream,
            "turns": wish.turns,
            "seed": wish.seed,
            "time_limit_seconds": wish.limit_seconds,
        },
        "endpoints": {},
        "levels": [],
        "yardstick": None,
        "cold": None,
    }


def endpoint(side: Side) -> Document:
    at = side.client.endpoint
    return {
        "url": at.url,
        "model": at.model,
        "host_header": at.host,
        "engine_version": side.version,
        "prompt_length": "scaled by the server's count" if side.scale.known else "a word taken for a token",
    }


def level(at: Level, measured: Summary, against: Summary | None, complete: bool) -> Document:
    return {
        "concurrency": at.concurrency,
        "rate": at.rate,
        "complete": complete,
        "measured": rounded(asdict(measured)),
        "against": None if against is None else rounded(asdict(against)),
        "ratio": None if against is None else rounded(asdict(ratio(measured, against))),
    }


def rounded(value: Any, digits: int = 6) -> Any:
    """Microseconds are enough."""
    if isinstance(value, float):
        return round(value, digits)
    if isinstance(value, dict):
        return {key: rounded(each, digits) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(each, digits) for each in value]
    return value


def read(file: str) -> Document:
    """A kept result. Raises ``WrongUsage`` for what is none."""
    try:
        found = json.loads(Path(file).read_text())
    except (OSError, ValueError) as wrong:
        raise WrongUsage(f"--from {file}: {wrong}; allowed: a file that `ebbtide bench --out` wrote") from None
    if not isinstance(found, dict) or found.get("form") != FORM or "levels" not in found:
        raise WrongUsage(f"--from {file}: no result of this command; allowed: a file that `ebbtide bench --out` wrote")
    return found
