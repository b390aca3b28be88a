"""How long the recorded graph of a stack takes, by its number of models.

``python -m benchmarks.graph`` runs ``ebbtide graph`` in a process of its own for each size, as a pipeline would, with
Python's bytecode compiled beforehand. Wall time is what a person waits; CPU time is what it takes on a machine that
does other things as well. Results go to ``docs/results/graph.json``.
"""

from __future__ import annotations

import copy
import datetime as dt
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

PROJECT = Path(__file__).resolve().parents[1]
RESULTS = PROJECT / "docs" / "results" / "graph.json"
STACK = "onprem"
SIZES = (1, 10, 100, 300, 1000)
ROUNDS = {1: 5, 10: 5, 100: 3, 300: 3, 1000: 3}
LIMITS_SECONDS = {10: 3.0, 1000: 40.0}


def stack_file(folder: Path, models: int) -> Path:
    """The project's own stack with its model repeated under other names, each written out."""
    content: dict[str, Any] = yaml.safe_load((PROJECT / "stacks" / f"Pulumi.{STACK}.yaml").read_text())
    config = content["config"]
    (model,) = config["ebbtide:models"].values()
    config["ebbtide:models"] = {f"model-{n:04d}": copy.deepcopy(model) for n in range(models)}
    config["ebbtide:gateway"] = {"groups": {"all": {"models": ["*"]}}, "keys": {"first": {"group": "all"}}}
    file = folder / f"Pulumi.{models}-models.yaml"
    file.write_text(yaml.dump(content, Dumper=_WrittenOut, sort_keys=False))
    return file


class _WrittenOut(yaml.SafeDumper):
    def ignore_aliases(self, data: Any) -> bool:
        return True


def once(file: Path, folder: Path) -> dict[str, float]:
    """One run. Raises ``CalledProcessError``."""
    out = folder / "graph.json"
    environ = {**os.environ, "PYTHONPYCACHEPREFIX": str(folder / "bytecode"), "EBBTIDE_STATE": str(folder)}
    environ.pop("PYTHONDONTWRITEBYTECODE", None)
    command = [sys.executable, "-m", "infra.cli", "graph", "-s", STACK, "--config-file", str(file), "--out", str(out)]
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, cwd=PROJECT, env=environ, check=True, capture_output=True, text=True)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall": wall, "cpu": cpu, "resources": len(json.loads(out.read_text()))}


def measured(models: int, folder: Path) -> dict[str, Any]:
    """The median of some runs: seconds, and how many resources there are."""
    file = stack_file(folder, models)
    runs = [once(file, folder) for _ in range(ROUNDS[models])]
    entry: dict[str, Any] = {
        "models": models,
        "resources": int(runs[0]["resources"]),
        "wall_seconds": round(statistics.median(run["wall"] for run in runs), 2),
        "cpu_seconds": round(statistics.median(run["cpu"] for run in runs), 2),
        "rounds": len(runs),
    }
    if models in LIMITS_SECONDS:
        entry["limit_seconds"] = LIMITS_SECONDS[models]
        entry["within_limit"] = entry["wall_seconds"] < LIMITS_SECONDS[models]
    return entry


def ratios(entries: list[dict[str, Any]]) -> dict[str, float]:
    """Milliseconds of CPU a model takes beyond the first ten, and how that grows: 1 is linear."""
    by_size = {entry["models"]: entry["cpu_seconds"] for entry in entries}

    def each(small: int, large: int) -> float:
        return (by_size[large] - by_size[small]) / (large - small) * 1000

    return {
        "cpu_milliseconds_per_model_10_to_100": round(each(10, 100), 2),
        "cpu_milliseconds_per_model_300_to_1000": round(each(300, 1000), 2),
        "growth_of_the_cost_of_one_model": round(each(300, 1000) / each(10, 100), 2),
    }


def main() -> int:
    with tempfile.TemporaryDirectory(prefix="ebbtide-bench-") as name:
        folder = Path(name)
        once(stack_file(folder, 1), folder)  # compiles
        entries = []
        for models in SIZES:
            entries.append(measured(models, folder))
            print(json.dumps(entries[-1]), flush=True)
    result = {
        "what": "ebbtide graph: stack file to recorded graph, one process each, median of the rounds",
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": {
            "processors": os.cpu_count(),
            "architecture": platform.machine(),
            "python": platform.python_version(),
            "load_before": round(os.getloadavg()[2], 1),
        },
        "measurements": entries,
        "ratios": ratios(entries),
    }
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result["ratios"]))
    return 0 if all(entry.get("within_limit", True) for entry in entries) else 1


if __name__ == "__main__":
    sys.exit(main())
