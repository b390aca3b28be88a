"""Main memory and processors that a model's pod takes of its machine. Pure arithmetic.

The pod asks for what the engine needs besides the GPU, never for more than its GPUs' share of what a machine leaves to
pods: it is not the first to be killed where memory is short, and it can be placed wherever its GPUs are free.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from components.platforms.contract import Pool

GIB, MIB = 2**30, 2**20
# What the streamer takes beside each GPU unless it is told otherwise, and the least that it is told here: it must hold
# the largest tensor. Source: runai-model-streamer 0.17.0, file_streamer/requests_iterator.py; issue 76 of that project.
STREAMER_BYTES, LEAST_BUFFER_BYTES = 40 * 10**9, 4 * GIB
GOOD_BUFFER_BYTES = 8 * GIB  # with less, little is read ahead of what is being copied to the card
SERVER_BYTES = 3 * GIB  # the server's process and its tokenizer
WORKER_BYTES = 2 * GIB  # a GPU's process: CUDA's own part of main memory, PyTorch, the compiled model
SHARED_MEMORY_GIB = 2  # in /dev/shm for each GPU: what NCCL and the workers talk through
# What a machine leaves to pods at least. Of the memory on its data sheet the kernel does not see all, and of a large
# machine more is kept: 11 % count as gone. Kubelet, system and daemon sets keep a fifth besides, up to 6 GiB, and a
# quarter of the processors. Sources: docs/decisions/0036
_VISIBLE_SHARE, _KEPT_SHARE, _MOST_KEPT_BYTES, _PROCESSORS_LEFT = 0.89, 0.2, 6 * GIB, 0.75


def there_bytes(memory_gib: float, gpus: int, of: int) -> int:
    """Return the share that ``gpus`` of a machine's ``of`` GPUs have of the memory it leaves to pods."""
    memory = memory_gib * GIB
    return int((memory * _VISIBLE_SHARE - min(_MOST_KEPT_BYTES, memory * _KEPT_SHARE)) * min(1.0, gpus / of))


def buffer_bytes(there: int | None, gpus: int) -> int:
    """Return the most that the streamer may take beside each GPU of a pod that has ``there`` bytes (None: unknown)."""
    if there is None:
        return STREAMER_BYTES
    room = (there - needed_bytes(gpus, 0)) // gpus // MIB * MIB
    return min(STREAMER_BYTES, max(LEAST_BUFFER_BYTES, room))


def needed_bytes(gpus: int, buffer: int) -> int:
    """Return what one pod takes while it loads, with so large a buffer beside each GPU."""
    return SERVER_BYTES + gpus * (WORKER_BYTES + SHARED_MEMORY_GIB * GIB + buffer)


def pod_bytes(pools: Iterable[Pool], gpus: int) -> int | None:
    """Return the memory that the pod has on each of its pools' machines; None where none of them is known."""
    known = [
        there_bytes(pool.node_memory_gib, gpus, pool.gpus_per_node)
        for pool in pools
        if pool.node_memory_gib is not None
    ]
    return min(known, default=None)


def requests(pools: Iterable[Pool], gpus: int, *, streams: bool) -> Mapping[str, str]:
    """Return the pod's requests for memory and processors; none where the engine computes on a CPU: its weights and its
    cache then share one machine with everything else. ``streams``: the weights come from a bucket."""
    known = tuple(pools)
    if any(pool.device == "cpu" for pool in known):
        return {}
    there = pod_bytes(known, gpus)
    needed = needed_bytes(gpus, buffer_bytes(there, gpus) if streams and there is not None else 0)
    shares = [
        1000 * pool.node_vcpus * _PROCESSORS_LEFT * gpus / pool.gpus_per_node
        for pool in known
        if pool.node_vcpus is not None
    ]
    # one for the server and the scheduler, and one for each GPU's process, which never rests
    cpu = int(min([1000.0 * (1 + gpus), *shares]))
    mib = min(needed, there if there is not None else needed) // MIB
    # as the API server writes them, so that what is asked for and what is there are the same text
    return {
        "cpu": f"{cpu}m" if cpu % 1000 else f"{cpu // 1000}",
        "memory": f"{mib}Mi" if mib % 1024 else f"{mib // 1024}Gi",
    }
