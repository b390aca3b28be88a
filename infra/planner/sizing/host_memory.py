"""Main memory of a machine while its engines load a model from a bucket. Pure arithmetic."""

from __future__ import annotations

from components.catalog.machine import Machine
from infra.planner.facts.model_facts import ModelFacts

GIB = 2**30
# What the streamer takes at most beside each GPU unless told otherwise: run-ai/runai-model-streamer 76
STREAMER_BYTES = 40 * 10**9
SERVER_BYTES = 3 * GIB  # the server's process and its tokenizer
WORKER_BYTES = 2 * GIB  # a GPU's process: CUDA's own part of main memory, PyTorch, the compiled model
LEFT_OF_MACHINE = 0.93  # what the system and its agents leave to pods


def needed_bytes(weights: int | None, gpus: int, streamer: int = STREAMER_BYTES) -> int | None:
    """Return what a replica needs of one machine on which it uses ``gpus``; None where the bytes of ``weights`` that
    it fetches are unknown."""
    if weights is None:
        return None
    return SERVER_BYTES + gpus * (WORKER_BYTES + min(streamer, weights))


def there_bytes(machine: Machine, gpus: int) -> int:
    """Return the share of a machine's memory that ``gpus`` of its GPUs have."""
    return int(machine.memory_gib * GIB * LEFT_OF_MACHINE * min(1.0, gpus / machine.gpus))


def holds(machine: Machine, facts: ModelFacts, gpus: int) -> bool:
    """Return True unless the machine is known to have too little main memory."""
    needed = needed_bytes(facts.weights.total if facts.weights is not None else None, gpus)
    return needed is None or needed <= there_bytes(machine, gpus)
