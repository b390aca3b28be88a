"""Records that the ledger reads, and the charges that it makes of them. Moments are microseconds since 1970, UTC: whole
numbers, so that no sum is rounded.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

SECOND = 1_000_000
HOUR = 3600 * SECOND
DAY = 24 * HOUR

Kind = Literal["serving", "wake", "idle", "keep_warm", "node"]
"""Kinds of charge. ``serving``: requests were in flight. ``wake``: a pod held GPUs and was not ready yet. ``idle``: it
was ready, and nobody asked. ``keep_warm``: both while the stack file keeps it warm. ``node``: GPUs that no pod held.
"""


@dataclass(frozen=True, slots=True)
class Node:
    """Life of a node, from ``start`` until ``end``. ``gpus``: as pods may ask for them, so of a shared card its slots.
    ``usd_per_hour`` None: unknown. ``standing``: it would be there if nobody asked.
    """

    uid: str
    name: str
    gpus: int
    usd_per_hour: Fraction | None
    start: int
    end: int
    standing: bool = False


@dataclass(frozen=True, slots=True)
class Pod:
    """Life of a model's pod, while it holds ``gpus`` of ``node`` (a name). ``ready`` None: it never was."""

    uid: str
    model: str
    node: str
    gpus: int
    start: int
    ready: int | None
    end: int


@dataclass(frozen=True, slots=True)
class Request:
    """One request for ``model``. ``end`` None: unknown, its gateway was killed. ``woke``: it began a wake. ``served``:
    an engine worked on it; one that was refused or given up never pays for an answer.
    """

    id: str
    group: str
    key: str
    model: str
    start: int
    end: int | None
    woke: bool = False
    served: bool = True


@dataclass(frozen=True, slots=True)
class WarmWindow:
    """Time in which the stack file keeps ``replicas`` pods of a model, asked or not."""

    model: str
    start: int
    end: int
    replicas: int = 1


@dataclass(frozen=True, slots=True)
class Charge:
    """Sum for one group, key, model, UTC day (days since 1970) and kind. ``group`` and ``key`` None: the stack itself;
    ``model`` None: no model. GPUs of nodes whose price is unknown are in ``unpriced_gpu_seconds`` too.
    """

    group: str | None
    key: str | None
    model: str | None
    day: int
    kind: Kind
    gpu_seconds: Fraction
    dollars: Fraction
    unpriced_gpu_seconds: Fraction
