"""Where and with what a result was made: a figure without them is none."""

from __future__ import annotations

import datetime as dt
import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any


def machine() -> dict[str, Any]:
    """Of the one who asks; the engine may be elsewhere. ``load`` tells whether others worked beside."""
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
