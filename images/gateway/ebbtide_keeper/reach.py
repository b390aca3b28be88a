"""Where a pod answers, and whether anything in it runs that could."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ENGINE_PORT = 8000


def url(pod: Mapping[str, Any], port: int) -> str:
    """``http://10.0.0.7:8000``"""
    return f"http://{address(pod, port)}"


def address(pod: Mapping[str, Any], port: int) -> str:
    """``10.0.0.7:8000``; IPv6 in brackets."""
    host = pod["status"]["podIP"]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def runs(pod: Mapping[str, Any]) -> bool:
    """Whether it has an address and a container that runs, ready or not."""
    status = pod.get("status", {})
    states = [each.get("state") or {} for each in status.get("containerStatuses") or ()]
    return bool(status.get("podIP")) and status.get("phase") == "Running" and any("running" in each for each in states)
