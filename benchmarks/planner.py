"""Whether the memory planner's figures are the engine's: ``python -m benchmarks.planner [--engine COMMAND]``.

Writes small models of random weights, starts vLLM on each, and holds what the engine logs and what lies in its memory
against ``infra.planner.sizing.memory``. ``COMMAND`` starts a Python with vLLM in it, on the CPU as well as on a GPU;
where it is in a container, ``--folder`` is mounted there at its own path. The cache must be exact to the token, weights
within two per cent. Results go to ``docs/results/planner.json``; the command ends with 1 where a figure is further off.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import planner_models, planner_probe
from infra.planner.facts import config_json, estimate_weights, model_source
from infra.planner.sizing import memory
from infra.planner.sizing.memory import Engine
from infra.planner.sizing.planned_pool import as_loaded

PROJECT = Path(__file__).resolve().parents[1]
RESULTS = PROJECT / "docs" / "results" / "planner.json"
CONTEXT, BATCHED, SEQUENCES, CACHE_BYTES = 4096, 1024, 8, 256 * 2**20
CPU_BLOCK = 128  # vLLM's default there; on a GPU it is memory.BLOCK
MOST_OFF_WEIGHTS = 0.02
CASES = (
    *((name, 1, "auto") for name in planner_models.MODELS),
    ("gqa", 2, "auto"),
    ("mqa, odd vocabulary", 2, "auto"),
    ("five windowed to one full", 2, "auto"),
    ("experts", 2, "auto"),
    ("latent", 2, "auto"),
    ("biases", 2, "auto"),
)
_TOKENS = re.compile(r"(?:CPU|GPU) KV cache size: ([\d,]+) tokens, .* per request: ([\d.]+)x")
_LOADED = re.compile(r"Model loading took ([\d.]+) GiB")


class NoAnswer(RuntimeError):
    """The engine did not come up; the text is the end of what it said."""


def ask_engine(command: str, folder: Path, gpus: int, kv_dtype: str, limit: float) -> dict[str, Any]:
    """What the engine says of itself: the probe's line, and ``logged_…`` off vLLM's log. Raises ``NoAnswer``."""
    settings = {
        "model": str(folder),
        "skip_tokenizer_init": True,
        "enforce_eager": True,
        "max_model_len": CONTEXT,
        "max_num_batched_tokens": BATCHED,
        "max_num_seqs": SEQUENCES,
        "kv_cache_memory_bytes": CACHE_BYTES,
        "kv_cache_dtype": kv_dtype,
        "tensor_parallel_size": gpus,
    }
    probe = folder.parent / Path(planner_probe.__file__).name
    process = subprocess.run(
        [*shlex.split(command), str(probe), json.dumps(settings)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", timeout=limit, check=False,
        env={**os.environ, "VLLM_NO_USAGE_STATS": "1"},
    )  # fmt: skip
    log = process.stdout
    parts, tokens, loaded = log.rpartition(planner_probe.MARK), _TOKENS.search(log), _LOADED.search(log)
    if not parts[1] or tokens is None:
        raise NoAnswer(log[-3000:])
    reported: dict[str, Any] = json.JSONDecoder().raw_decode(parts[2])[0]
    reported["logged_tokens"], reported["logged_concurrency"] = int(tokens[1].replace(",", "")), float(tokens[2])
    reported["logged_weights_gib"] = float(loaded[1]) if loaded else None
    return reported


def compared(folder: Path, gpus: int, kv_dtype: str, reported: dict[str, Any]) -> dict[str, Any]:
    """Predicted and logged side by side. Everything predicted comes from the files and the settings alone, but for the
    kind of device, which decides the size of a block and how many steps are in flight."""
    on_cpu = reported["device"] == "cpu"
    block = CPU_BLOCK if on_cpu else memory.BLOCK
    facts = as_loaded(model_source.from_folder(folder), "auto")
    if facts.kv and not facts.kv[0].divides and on_cpu and reported["block"] == memory.BLOCK:
        block = memory.BLOCK  # latent caches: the CPU's kernel for them takes no other, unless the machine has AMX
    engine = Engine(
        CONTEXT, SEQUENCES, BATCHED, kv_dtype=kv_dtype, tensor_parallel=gpus, steps_in_flight=1 if on_cpu else 2
    )
    one = memory.kv_bytes_of_sequence(facts, engine, block=block)
    blocks = CACHE_BYTES // memory.block_bytes(facts, engine, block)
    tokens = int(blocks * memory.block_bytes(facts, engine, block) / one * CONTEXT)
    assert facts.weights is not None
    config = json.loads((folder / "config.json").read_text())
    estimated, _ = estimate_weights.estimate(config_json.read(config), config)
    ratio = 0.5 if config["torch_dtype"] == "float32" else 1.0  # the engine holds those in 16 bits
    by_files = facts.weights.per_gpu(gpus, facts.kv_heads)
    by_shape = int(estimated.per_gpu(gpus, facts.kv_heads) * ratio)
    held = reported["workers"][0]["weights"]
    per_token = sum(each["layers"] * each["block_bytes"] / each["block"] for each in reported["groups"])
    return {
        "predicted": {
            "weight_bytes": by_files,
            "weight_bytes_from_shape": by_shape,
            "kv_bytes_per_token": memory.kv_bytes_per_token(facts, gpus, kv_dtype),
            "kv_bytes_of_sequence": one,
            "blocks": blocks,
            "tokens": tokens,
        },
        "engine": {
            "weight_bytes": held,
            "kv_bytes_per_token": per_token,
            "kv_bytes_of_sequence": round(reported["workers"][0]["cache"] / reported["concurrency"]),
            "blocks": reported["blocks"],
            "tokens": reported["logged_tokens"],
            "concurrency": reported["logged_concurrency"],
            "cache_bytes": reported["workers"][0]["cache"],
            "buffer_bytes": reported["workers"][0]["buffers"],
            "logged_weights_gib": reported["logged_weights_gib"],
            "tokens_in_a_block": reported["block"],
            **({"no_answer": reported["no_answer"]} if reported["no_answer"] else {}),
        },
    }


def judged(entry: dict[str, Any]) -> list[str]:
    """The figures that are off."""
    predicted, engine = entry["predicted"], entry["engine"]
    exact = [
        key
        for key in ("kv_bytes_per_token", "kv_bytes_of_sequence", "blocks", "tokens")
        if predicted[key] != engine[key]
    ]
    near = [
        key
        for key in ("weight_bytes", "weight_bytes_from_shape")
        if abs(predicted[key] / engine["weight_bytes"] - 1) > MOST_OFF_WEIGHTS
    ]
    return exact + near


def measured(command: str, folder: Path, name: str, gpus: int, kv_dtype: str, limit: float) -> dict[str, Any]:
    """One model on one engine."""
    about = {"model": name, "tensor_parallel": gpus, "kv_cache_dtype": kv_dtype}
    try:
        reported = ask_engine(command, folder, gpus, kv_dtype, limit)
    except (NoAnswer, subprocess.TimeoutExpired) as error:
        print(f"{name}: the engine did not answer\n{error}", file=sys.stderr)
        return {**about, "off": ["the engine did not start"]}
    entry = compared(folder, gpus, kv_dtype, reported)
    off = judged(entry)
    off_by = {
        "weights_percent": round(100 * (entry["predicted"]["weight_bytes"] / entry["engine"]["weight_bytes"] - 1), 3),
        "weights_from_shape_percent": round(
            100 * (entry["predicted"]["weight_bytes_from_shape"] / entry["engine"]["weight_bytes"] - 1), 3
        ),
    }
    return {**about, "vllm": reported["vllm"], "device": reported["device"], **entry, "off_by": off_by, "off": off}


def written(out: Path, entries: list[dict[str, Any]], load: float) -> list[str]:
    """What is off. Written anew after each model: a run that is stopped keeps what it has."""
    over = [f"{e['model']} on {e['tensor_parallel']}: {', '.join(e['off'])}" for e in entries if e["off"]]
    result = {
        "what": "the memory planner against the engine: bytes of one worker, tokens as vLLM logs them",
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "load_before": round(load, 2)},
        "versions": {"vllm": sorted({e["vllm"] for e in entries if "vllm" in e}), "python": platform.python_version()},
        "settings": {"context": CONTEXT, "batched_tokens": BATCHED, "sequences": SEQUENCES, "cache_bytes": CACHE_BYTES},
        "limits": {"kv": "exact", "weights_percent": 100 * MOST_OFF_WEIGHTS},
        "models": entries,
        "over": over,
    }
    out.write_text(json.dumps(result, indent=1) + "\n")
    return over


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--engine", default="python3", help="starts a Python with vLLM in it (default: %(default)s)")
    parser.add_argument("--folder", type=Path, help="where the models are written (default: a temporary folder)")
    parser.add_argument("--only", action="append", help="a model's name; may be repeated (default: all)")
    parser.add_argument("--most-gpus", type=int, default=2, help="skip what is split further (default: %(default)s)")
    parser.add_argument("--limit", type=float, default=600, help="seconds one engine may take (default: %(default)s)")
    parser.add_argument("--out", type=Path, default=RESULTS)
    chosen = parser.parse_args()
    load = os.getloadavg()[0]
    cases = [c for c in CASES if c[1] <= chosen.most_gpus and (not chosen.only or c[0] in chosen.only)]
    entries: list[dict[str, Any]] = []
    over: list[str] = []
    with tempfile.TemporaryDirectory(prefix="ebbtide-planner-", dir=chosen.folder) as root:
        folder = Path(root)
        folder.chmod(0o755)  # an engine in a container may be another user
        shutil.copy(planner_probe.__file__, folder)
        for name, gpus, kv_dtype in cases:
            model = folder / re.sub(r"\W+", "-", name)
            if not model.exists():
                planner_models.write(planner_models.MODELS[name], model)
            entries.append(measured(chosen.engine, model, name, gpus, kv_dtype, chosen.limit))
            over = written(chosen.out, entries, load)
            line = {key: entries[-1].get(key) for key in ("model", "tensor_parallel", "off_by", "off")}
            print(json.dumps(line), flush=True)
    print(json.dumps(over))
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
