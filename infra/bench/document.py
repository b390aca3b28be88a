"""The result as one JSON document, from which every other form is built."""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from infra.bench.options import Level, Options
from infra.bench.side import Side
from infra.bench.statistics import Summary, ratio
from infra.errors import UsageError

Document = dict[str, Any]
FORM = 1


def begun(options: Options) -> Document:
    """Return an empty result. ``complete`` turns true only at the end: an interrupted run's file says so itself."""
    return {
        "what": "time to first token (ttft), seconds a token after it (tpot) and throughput of a served model",
        "form": FORM,
        "date": now(),
        "complete": False,
        "machine": machine(),
        "versions": versions(),
        "load": {
            "input_tokens": options.input_tokens,
            "output_tokens": options.output_tokens,
            "exact": options.exact,
            "stream": options.stream,
            "turns": options.turns,
            "seed": options.seed,
            "time_limit_seconds": options.limit_seconds,
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
    """Round every float in ``value``: microseconds are enough."""
    if isinstance(value, float):
        return round(value, digits)
    if isinstance(value, dict):
        return {key: rounded(each, digits) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [rounded(each, digits) for each in value]
    return value


def read(file: str) -> Document:
    """Read a kept result. Raises ``UsageError`` for any other file."""
    try:
        document = json.loads(Path(file).read_text())
    except (OSError, ValueError) as wrong:
        raise UsageError(f"--from {file}: {wrong}; allowed: a file that `ebbtide bench --out` wrote") from None
    if not isinstance(document, dict) or document.get("form") != FORM or "levels" not in document:
        raise UsageError(f"--from {file}: no result of this command; allowed: a file that `ebbtide bench --out` wrote")
    return document


# Where and with what a result was measured: without them a figure is worth nothing.


def machine() -> dict[str, Any]:
    """Describe the client's machine; the engine may be elsewhere. ``load_before`` shows whether it had other work."""
    return {
        "cpus": os.cpu_count(),
        "processor": _field("/proc/cpuinfo", "model name") or platform.processor() or "unknown",
        "memory_gib": _memory_gib(),
        "kernel": platform.release(),
        "load_before": round(os.getloadavg()[0], 2),
    }


def versions() -> dict[str, str]:
    try:
        own = metadata.version("ebbtide")
    except metadata.PackageNotFoundError:
        own = "unknown"
    return {"ebbtide": own, "python": platform.python_version(), "httpx": metadata.version("httpx")}


def now() -> str:
    return dt.datetime.now(dt.UTC).isoformat(timespec="seconds")


def _field(file: str, name: str) -> str:
    try:
        lines = Path(file).read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")


def _memory_gib() -> float | None:
    kib = _field("/proc/meminfo", "MemTotal").removesuffix("kB").strip()
    return round(int(kib) / 1024**2, 1) if kib.isdecimal() else None
