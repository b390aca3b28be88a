"""A resource that the program calls otherwise: the engine deletes the one and makes another, unless it is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Properties that are a thing's own name in its cloud: two resources with the same one are the same thing.
_NAMES = (
    "bucket", "name", "nodeGroupName", "nodeGroupNamePrefix", "clusterName", "agentPoolName", "accountName",
    "registryName", "containerName", "vaultName", "keyName", "repositoryId", "resourceGroupName",
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """``kept``: the program says by an alias that it is the same one, so that the engine keeps it."""

    was: str
    kept: bool


def pairs(olds: Mapping[str, Mapping[str, Any]], news: Mapping[str, Mapping[str, Any]]) -> dict[str, Pair]:
    """New URNs with the old resource that each one is. An alias is believed, and what it hides is judged by the
    properties; without one, the same type with the same physical name is the same thing under another name."""
    gone = {urn: entry for urn, entry in olds.items() if urn not in news}
    found: dict[str, Pair] = {}
    for urn, entry in news.items():
        if urn in olds:
            continue
        for alias in entry.get("aliases") or ():
            if alias in gone:
                found[urn] = Pair(str(alias), True)
                del gone[str(alias)]
                break
    by_name = {(str(entry["type"]), _physical(entry)): urn for urn, entry in gone.items() if _physical(entry)}
    for urn, entry in news.items():
        if urn in olds or urn in found:
            continue
        was = by_name.pop((str(entry["type"]), _physical(entry)), None)
        if was is not None:
            found[urn] = Pair(was, False)
    return found


def _physical(entry: Mapping[str, Any]) -> tuple[str, ...]:
    inputs = entry.get("inputs") or {}
    if str(entry["type"]).startswith("kubernetes:"):
        metadata = inputs.get("metadata") or {}
        name = metadata.get("name") or inputs.get("name")
        return (str(metadata.get("namespace") or inputs.get("namespace") or ""), str(name)) if name else ()
    return tuple(
        f"{key}={inputs[key]}" for key in _NAMES if isinstance(inputs.get(key), str) and "${" not in inputs[key]
    )
