"""How long a plan takes from a cold interpreter, and how much memory: ``python -m benchmarks.plan [rounds]``.

aws-prod as it is typed: with its resources counted before (kept under a hash of all they depend on), counted anew, and
not counted; then a stack of a thousand models that are all different. Results go to ``docs/results/plan.json``; the
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

LIMITS = {"aws-prod": 2.0, "a thousand models": 20.0}
MOST_MEBIBYTES = 500
MODELS = 1000


def run(cache: Path, *arguments: str) -> tuple[float, float, float]:
    """Seconds of wall and of processor, and MiB at most, of one command in an interpreter of its own."""
    with tempfile.TemporaryFile() as errors:
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "infra.cli", "plan", *arguments],
            cwd=PROJECT, stdout=subprocess.DEVNULL, stderr=errors, env={**os.environ, "EBBTIDE_CACHE": str(cache)},
        )  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in (0, 1):  # 1: the plan has findings
            errors.seek(0)
            raise RuntimeError(errors.read().decode())
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def a_thousand(folder: Path) -> Path:
    """aws-prod with a thousand models, no two alike in context and sequences."""
    read = yaml.safe_load((PROJECT / "stacks" / "Pulumi.aws-prod.yaml").read_text())
    config = read["config"]
    small, large = config["ebbtide:models"]["llama-8b"], config["ebbtide:models"]["llama-70b"]
    config["ebbtide:models"] = {
        f"model-{i}": {**(large if i % 4 == 0 else small), "maxTokens": 2048 + i, "maxSequences": 1 + i % 64}
        for i in range(MODELS)
    }
    config["ebbtide:guard"]["maxGpus"] = 100
    config["ebbtide:gateway"]["groups"] = {"all": {"models": ["*"]}}
    config["ebbtide:gateway"]["keys"] = {"first": {"group": "all"}}
    file = folder / "Pulumi.thousand.yaml"
    file.write_text(yaml.safe_dump(read, sort_keys=False))
    return file


def measured(rounds: int, cache: Path, *arguments: str) -> dict[str, Any]:
    """Of so many runs, one after the other."""
    found = [run(cache, *arguments) for _ in range(rounds)]
    return {
        "wall_seconds": [round(wall, 2) for wall, _, _ in found],
        "median_wall_seconds": round(statistics.median(wall for wall, _, _ in found), 2),
        "median_processor_seconds": round(statistics.median(processor for _, processor, _ in found), 2),
        "most_mebibytes": round(max(memory for _, _, memory in found)),
    }


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    load = os.getloadavg()[0]
    stack = ("-s", "aws-prod", "--format", "json")
    with tempfile.TemporaryDirectory(prefix="ebbtide-bench-") as root:
        folder = Path(root)
        thousand = ("-s", "thousand", "--config-file", str(a_thousand(folder)), "--no-graph", "--format", "json")
        anew = [run(folder / f"cache-{i}", *stack) for i in range(min(rounds, 2))]
        runs = {
            "aws-prod": measured(rounds, folder / "cache-0", *stack),
            "aws-prod, resources counted anew": {
                "wall_seconds": [round(wall, 2) for wall, _, _ in anew],
                "most_mebibytes": round(max(memory for _, _, memory in anew)),
            },
            "aws-prod without resources": measured(rounds, folder / "cache-0", *stack, "--no-graph"),
            "a thousand models": measured(max(1, rounds // 2), folder / "cache-0", *thousand),
        }
    passed = [
        *(f"{name}: {runs[name]['median_wall_seconds']} s" for name, most in LIMITS.items()
          if runs[name]["median_wall_seconds"] > most),
        *(f"{name}: {each['most_mebibytes']} MiB" for name, each in runs.items()
          if name in LIMITS and each["most_mebibytes"] > MOST_MEBIBYTES),
    ]  # fmt: skip
    written = {
        "what": "`ebbtide plan --format json` from a cold interpreter: seconds of wall, MiB of memory at most",
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release(), "load_before": round(load, 2)},
        "limits": {**LIMITS, "mebibytes": MOST_MEBIBYTES},
        "runs": runs,
        "over": passed,
    }
    (PROJECT / "docs" / "results" / "plan.json").write_text(json.dumps(written, indent=1) + "\n")
    print(json.dumps(written, indent=1))
    return 1 if passed else 0


if __name__ == "__main__":
    sys.exit(main())
