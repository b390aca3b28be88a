"""Changes of a plan against another: models, pools, cost, cold path, time-outs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from infra.planner.report.document import Document
from infra.stackfile.findings.formatting import show
from infra.workspace import PROJECT

_OF_MODEL = (
    *("id", "revision", "pool", "fallback_pools", "long_prompts", "machine", "gpus", "nodes", "min", "max"),
    *("context_tokens", "max_sequences"),
    *("memory.weights", "memory.kv_free", "memory.sequences_at_context", "memory.longest_context"),
    *("cost.floor_usd_per_hour", "cost.ceiling_usd_per_hour"),
)
_OF_POOL = (
    *("machine", "gpu", "gpus_per_node", "min", "max", "capacity", "zones", "slice"),
    *("cost.usd_per_node_hour", "cost.floor_usd_per_hour", "cost.ceiling_usd_per_hour"),
)
_OF_COST = (
    *("floor_usd_per_hour", "ceiling_usd_per_hour", "floor_usd_per_month", "ceiling_usd_per_month"),
    *("gpu_nodes.floor_usd_per_hour", "gpu_nodes.ceiling_usd_per_hour"),
    *("cluster.floor_usd_per_hour", "cluster.ceiling_usd_per_hour"),
    "cap_usd_per_hour",
)
_OF_COLD = ("cold_seconds", "warm_seconds", "dominant", "cold_start_seconds")


class NoSuchReference(ValueError):
    """A reference with nothing to compare with; the text says what is allowed."""


def other_text(reference: str, stack: str) -> tuple[str, str]:
    """Return the other stack file's text and name: an existing file, or the stack's own file at a git revision. Raises
    ``NoSuchReference``."""
    file = Path(reference)
    if file.is_file():
        return file.read_text(errors="replace"), str(file)
    at = f"stacks/Pulumi.{stack}.yaml"
    done = subprocess.run(
        ["git", "show", "--end-of-options", f"{reference}:{at}"],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise NoSuchReference(
            f"--against: {show(reference)} is neither a file nor a git revision with {at}; "
            "allowed: a stack file, or a branch, tag or commit; fix: check the spelling (git log)"
        )
    return done.stdout, f"{reference}:{at}"


def changes(before: Document, after: Document) -> list[Document]:
    """Return each change as ``{path, before, after}``; None means absent or unknown."""
    differences = [
        *_named("models", before, after, _OF_MODEL),
        *_named("pools", before, after, _OF_POOL),
        *_fields("cost", before["cost"] or {}, after["cost"] or {}, _OF_COST),
        *_named("cold_path", before, after, _OF_COLD, key="model"),
        *_named("timeouts", before, after, ("silence_seconds", "shortest"), key="model"),
    ]
    return [{"path": path, "before": old, "after": new} for path, old, new in differences]


def _named(
    section: str, before: Document, after: Document, fields: tuple[str, ...], key: str = "name"
) -> Iterator[tuple[str, Any, Any]]:
    old, new = ({each[key]: each for each in side[section]} for side in (before, after))
    for name in dict.fromkeys((*old, *new)):
        if section in ("cold_path", "timeouts") and (name not in old or name not in new):
            continue  # reported with its model
        if name not in old or name not in new:
            yield f"{section}.{name}", _short(old.get(name)), _short(new.get(name))
        else:
            yield from _fields(f"{section}.{name}", old[name], new[name], fields)


def _short(entry: Mapping[str, Any] | None) -> str | None:
    if entry is None:
        return None
    return str(entry.get("told") or entry.get("id"))


def _fields(
    at: str, old: Mapping[str, Any], new: Mapping[str, Any], fields: tuple[str, ...]
) -> Iterator[tuple[str, Any, Any]]:
    for field in fields:
        was, now = _at(old, field), _at(new, field)
        if was != now and not _alike(was, now):
            yield f"{at}.{field}", was, now


def _alike(was: Any, now: Any) -> bool:
    return isinstance(was, float) and isinstance(now, float) and abs(was - now) < 1e-9


def _at(entry: Mapping[str, Any], field: str) -> Any:
    here: Any = entry
    for part in field.split("."):
        here = here.get(part) if isinstance(here, Mapping) else None
    return here
