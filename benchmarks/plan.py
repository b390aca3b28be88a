"""How long a plan takes from a cold interpreter, and how much memory: ``python -m benchmarks.plan [rounds]``.

aws-prod as it is typed; with its resources counted before (kept under a hash of all they depend on), and counted anew;
once with no bytecode at all of what it imports; then stacks of a thousand and of 2,500 models that are all
different. Results go to ``docs/results/plan.json``; the
command ends with 1 where a limit is passed.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from infra.workspace import PROJECT

LIMITS = {"aws-prod": 2.0, "a thousand models": 20.0, "2,500 models": 20.0}
MOST_COLD_PROCESSOR_SECONDS = 5.0
MOST_MEBIBYTES = 500
MOST_MEBIBYTES_OF_2500 = 300
MODELS = 1000
MOST_VALUES_MODELS = 2500
_SHORT = ("id", "revision", "pool", "max", "licenceAccepted", "maxTokens")


def run(cache: Path, *arguments: str, **more: str) -> tuple[float, float, float]:
    """Seconds of wall and of processor, and MiB at most, of one command in an interpreter of its own."""
    with tempfile.TemporaryFile() as errors:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.cli", "plan", *arguments],
            cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=errors,
            env={**os.environ, "EBBTIDE_CACHE": str(cache), **more},
        )  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (0, 1):  # 1: the plan has findings
            errors.seek(0)
            raise RuntimeError(errors.read().decode())
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def many(folder: Path, count: int) -> Path:
    """aws-prod with so many models, no two alike in context; above a thousand with as few keys as they need."""
    read = yaml.safe_load((PROJECT / "stacks" / "Pulumi.aws-prod.yaml").read_text())
    config = read["config"]
    small, large = config["ebbtide:models"]["llama-8b"], config["ebbtide:models"]["llama-70b"]
    config["ebbtide:models"] = {
        f"model-{i}": {**(large if i % 4 == 0 else small), "maxTokens": 2048 + i, "maxSequences": 1 + i % 64}
        for i in range(count)
    }
    if count > MODELS:  # a stack file holds 20,000 values
        for model in config["ebbtide:models"].values():
            left = {key: value for key, value in model.items() if key in _SHORT or (key == "gpus" and value > 1)}
            model.clear()
            model.update(left)
    config["ebbtide:guard"]["maxGpus"] = 100
    config["ebbtide:gateway"]["groups"] = {"all": {"models": ["*"]}}
    config["ebbtide:gateway"]["keys"] = {"first": {"group": "all"}}
    file = folder / f"Pulumi.many-{count}.yaml"
    file.write_text(json.dumps(read))  # YAML's own anchors would stand for the same revision
    return file


def measured(rounds: int, cache: Path, *arguments: str) -> dict[str, Any]:
    """Of so many runs, one after the other."""
    runs = [run(cache, *arguments) for _ in range(rounds)]
    return {
        "wall_seconds": [round(wall, 2) for wall, _, _ in runs],
        "median_wall_seconds": round(statistics.median(wall for wall, _, _ in runs), 2),
        "median_processor_seconds": round(statistics.median(processor for _, processor, _ in runs), 2),
        "most_mebibytes": round(max(memory for _, _, memory in runs)),
    }


def allowed(name: str) -> int:
    """MiB that a run may take."""
    return MOST_MEBIBYTES_OF_2500 if name.startswith("2,500") else MOST_MEBIBYTES


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    load = os.getloadavg()[0]
    stack = ("-s", "aws-prod", "--format", "json")
    with tempfile.TemporaryDirectory(prefix="ebbtide-bench-") as root:
        folder = Path(root)
        thousand = ("-s", "thousand", "--config-file", str(many(folder, MODELS)), "--format", "json")
        most = ("-s", "most", "--config-file", str(many(folder, MOST_VALUES_MODELS)), "--format")
        nothing = {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONPYCACHEPREFIX": str(folder / "no-bytecode")}
        cold = [run(folder / f"cold-{i}", *stack, "--graph", **nothing) for i in range(min(rounds, 2))]
        anew = [run(folder / f"cache-{i}", *stack, "--graph") for i in range(min(rounds, 2))]
        runs = {
            "aws-prod": measured(rounds, folder / "cache-0", *stack),
            "aws-prod, resources counted before": measured(rounds, folder / "cache-0", *stack, "--graph"),
            "aws-prod, resources counted anew": {
                "wall_seconds": [round(wall, 2) for wall, _, _ in anew],
                "most_mebibytes": round(max(memory for _, _, memory in anew)),
            },
            "aws-prod, counted anew, processor seconds": [round(processor, 2) for _, processor, _ in anew],
            "aws-prod, counted anew, no bytecode at all, processor seconds": [round(each[1], 2) for each in cold],
            "a thousand models": measured(max(1, rounds // 2), folder / "cache-0", *thousand),
            "2,500 models": measured(max(1, rounds // 2), folder / "cache-0", *most, "json"),
            "2,500 models, as text": measured(1, folder / "cache-0", *most, "text"),
        }
    passed = [
        *(f"{name}: {runs[name]['median_wall_seconds']} s" for name, most in LIMITS.items()
          if runs[name]["median_wall_seconds"] > most),
        *(f"{name}: {each['most_mebibytes']} MiB" for name, each in runs.items()
          if isinstance(each, dict) and name in LIMITS and each["most_mebibytes"] > allowed(name)),
        *(f"counted anew: {processor:.1f} s of processor" for _, processor, _ in anew[:1]
          if processor > MOST_COLD_PROCESSOR_SECONDS),
    ]  # fmt: skip
    written = {
        "what": "`ebbtide plan --format json` from a cold interpreter: seconds of wall, MiB of memory at most",
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "load_before": round(load, 2)},
        "limits": {
            **LIMITS,
            "mebibytes": MOST_MEBIBYTES,
            "mebibytes of 2,500 models": MOST_MEBIBYTES_OF_2500,
            "processor seconds, counted anew": MOST_COLD_PROCESSOR_SECONDS,
        },
        "runs": runs,
        "over": passed,
    }
    (PROJECT / "docs" / "results" / "plan.json").write_text(json.dumps(written, indent=1) + "\n")
    print(json.dumps(written, indent=1))
    return 1 if passed else 0


if __name__ == "__main__":
    sys.exit(main())
