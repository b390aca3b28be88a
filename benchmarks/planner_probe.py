"""Runs inside the engine's own Python: starts vLLM on one model and says what it holds in memory.

Only vLLM and the standard library are there. ``python3 planner_probe.py '{"model": …, …}'`` takes vLLM's own arguments
as JSON and prints one line, ``PROBE {…}``. Weights are the tensors' bytes as they lie in memory once loaded, before a
back end repacks them into forms that no longer show; a GPU's log has a figure for them, the CPU's log has none.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

MARK = "PROBE "
IN_ENGINE = "EBBTIDE_PLANNER_PROBE"
_loaded: dict[str, int] = {}


def _bytes_of(tensors: Any) -> int:
    """Of all tensors, each memory counted once: tied ones share theirs."""
    storages = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors if not t.is_meta}
    return sum(storages.values())


def _watch_loading() -> None:
    from vllm.model_executor.model_loader import base_loader  # type: ignore[import-not-found]

    repack = base_loader.process_weights_after_loading

    def weighed(model: Any, *arguments: Any, **more: Any) -> None:
        _loaded["weights"] = _bytes_of(model.parameters())
        _loaded["buffers"] = _bytes_of(model.buffers())
        repack(model, *arguments, **more)

    base_loader.process_weights_after_loading = weighed


class Weighing:
    """Mixed into vLLM's worker, so that it answers in every process there is."""

    def weighed(self) -> dict[str, int]:
        """Bytes of this worker: weights, buffers and the cache's own memory."""
        caches = self.model_runner.kv_caches  # type: ignore[attr-defined]
        flat = [t for each in caches for t in (each if isinstance(each, (list, tuple)) else [each])]
        return {**_loaded, "cache": _bytes_of(flat)}


def _layers(config: Any) -> list[dict[str, int | str]]:
    """The groups of the cache: how many layers, their kind, and bytes of one layer's block."""
    return [
        {
            "kind": type(group.kv_cache_spec).__name__,
            "layers": len(group.layer_names),
            "block": group.kv_cache_spec.block_size,
            "block_bytes": group.kv_cache_spec.page_size_bytes,
        }
        for group in config.kv_cache_groups
    ]


def _surroundings(workers: int) -> None:
    """The scheduler in this process, where it can be asked; and on the CPU a processor for each worker, because vLLM
    would give each a NUMA node of its own. Has no bearing on a GPU."""
    os.environ[IN_ENGINE] = "1"
    os.environ["VLLM_ENABLE_V1_MULTIPROCESSING"] = "0"
    os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")  # an image need have no compiler
    processors = sorted(os.sched_getaffinity(0))
    if 1 < workers <= len(processors):
        os.environ.setdefault("VLLM_CPU_OMP_THREADS_BIND", "|".join(str(n) for n in processors[:workers]))


def _answers(engine: Any) -> str:
    """Whether what was measured also computes: empty, or why it does not."""
    from vllm import SamplingParams  # type: ignore[import-not-found]

    try:
        engine.generate({"prompt_token_ids": [5, 6, 7]}, SamplingParams(max_tokens=1, detokenize=False))
    except Exception as error:  # a back end's own gap: the memory was measured before
        return f"{type(error).__name__}: {error}"[:300]
    return ""


def main() -> None:
    settings = json.loads(sys.argv[1])
    _surroundings(settings["tensor_parallel_size"])
    import vllm

    engine = vllm.LLM(**settings, worker_extension_cls="planner_probe.Weighing")
    config = engine.llm_engine.vllm_config
    cache = config.cache_config
    figures = {
        "vllm": vllm.__version__,
        "device": config.device_config.device_type,
        "workers": engine.collective_rpc("weighed"),
        "blocks": cache.num_gpu_blocks,
        "block": cache.block_size,
        "tokens": cache.kv_cache_size_tokens,
        "concurrency": cache.kv_cache_max_concurrency,
        "in_flight_tokens": config.max_in_flight_tokens,
        "batched_tokens": config.scheduler_config.max_num_batched_tokens,
        "groups": _layers(engine.llm_engine.engine_core.engine_core.scheduler.kv_cache_config),
    }
    figures["no_answer"] = _answers(engine)
    print(MARK + json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
elif IN_ENGINE in os.environ:  # a worker has imported this for ``Weighing``
    _watch_loading()
