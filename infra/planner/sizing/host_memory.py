"""Main memory of a machine while an engine loads a model from a bucket. Pure arithmetic."""

from __future__ import annotations

from components.catalog.machine import Machine
from components.model_service.host_memory import GOOD_BUFFER_BYTES, needed_bytes, there_bytes
from infra.planner.facts.model_facts import ModelFacts


def loading_bytes(weights: int | None, gpus: int, buffer: int | None = None) -> int | None:
    """Return what a replica takes of one machine on which it uses ``gpus``, with the buffer that was set, or one with
    which the load is not slowed; None where the bytes of ``weights`` that it fetches are unknown."""
    if weights is None:
        return None
    return needed_bytes(gpus, min(GOOD_BUFFER_BYTES if buffer is None else buffer, weights))


def holds(machine: Machine, facts: ModelFacts, gpus: int) -> bool:
    """Return True unless the machine is known to have too little main memory."""
    needed = loading_bytes(facts.weights.total if facts.weights is not None else None, gpus)
    return needed is None or needed <= there_bytes(machine.memory_gib, gpus, machine.gpus)
