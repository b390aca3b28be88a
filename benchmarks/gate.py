"""How long the gate takes on aws-prod with 50 models: ``python -m benchmarks.gate [rounds]``.

A repository of its own with the project as it lies here: the protected branch has the fifty models, the change raises a
pool's max and a model's. Each run is the command that a pipeline runs, in an interpreter of its own, which records both
sides. Results go to ``docs/results/gate.json``; the command ends with 1 where the limit is passed.
"""

from __future__ import annotations

import datetime as dt
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

from infra.gate.sandbox import record

PROJECT = Path(__file__).resolve().parents[1]
RESULTS = PROJECT / "docs" / "results" / "gate.json"
STACK, MODELS, LIMIT_SECONDS, ROUNDS = "aws-prod", 50, 15.0, 5


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.email=bench@example.com", "-c", "user.name=bench", "-c", "core.hooksPath=/dev/null"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


def repository(folder: Path) -> None:
    """Two commits of the project: ``main`` and ``change``."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"], cwd=PROJECT, check=True, capture_output=True
    )
    for name in listed.stdout.decode().split("\0"):
        if name and (PROJECT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(PROJECT / name, folder / name)
    file = folder / "stacks" / f"Pulumi.{STACK}.yaml"
    stack = yaml.safe_load(file.read_text())
    config = stack["config"]
    model = config["ebbtide:models"]["llama-8b"]
    config["ebbtide:models"] = {f"model-{number:02d}": dict(model) for number in range(MODELS)}
    config["ebbtide:gateway"] = {"groups": {"all": {"models": ["*"]}}, "keys": {"first": {"group": "all"}}}
    file.write_text(yaml.safe_dump(stack, sort_keys=False))
    git(folder, "init", "-q", "-b", "main")
    git(folder, "add", "-A")
    git(folder, "commit", "-q", "-m", "fifty models")
    git(folder, "checkout", "-q", "-b", "change")
    config["ebbtide:pools"]["gpu-1xa10"]["max"] += 1
    config["ebbtide:models"]["model-00"]["max"] += 1
    file.write_text(yaml.safe_dump(stack, sort_keys=False))
    git(folder, "commit", "-q", "-a", "-m", "one more node")


def once(folder: Path, out: Path) -> dict[str, Any]:
    """One run: its seconds, and what it said. Raises ``RuntimeError`` where it could not judge."""
    command = [sys.executable, "-m", "infra.cli", "gate", "-s", STACK, "--base", "main", "--head", "change"]
    with tempfile.TemporaryFile() as errors:
        began = time.monotonic()
        process = subprocess.Popen(
            [*command, "--format", "json", "--out", str(out)], cwd=folder, stdout=subprocess.DEVNULL, stderr=errors,
            env={**os.environ, "TMPDIR": str(out.parent)},  # a folder of its own, with nobody's mounts in it
        )  # fmt: skip
        _, status, used = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        errors.seek(0)
        if process.returncode not in (0, 1) or not out.exists():
            raise RuntimeError(errors.read().decode())
    (report,) = json.loads(out.read_text())["reports"]
    if report["problem"] or report["baseProblem"]:
        raise RuntimeError(report["problem"] or report["baseProblem"])
    return {"wall": wall, "processor": used.ru_utime + used.ru_stime, "report": report}


def main() -> int:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS
    load = os.getloadavg()
    with tempfile.TemporaryDirectory(prefix="ebbtide-bench-") as root:
        folder = Path(root) / "repository"
        folder.mkdir()
        repository(folder)
        # what runs shut in is not counted with the command's own seconds: one of the two recordings, in the open
        before = os.times()
        record(folder, STACK, confined=False)
        after = os.times()
        recording = after.children_user + after.children_system - before.children_user - before.children_system
        runs = [once(folder, Path(root) / "report.json") for _ in range(rounds)]
    report = runs[0]["report"]
    median = round(statistics.median(run["wall"] for run in runs), 2)
    written = {
        "what": f"`ebbtide gate --format json` on {STACK} with {MODELS} models, both sides recorded, cold interpreter",
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": {
            "processors": os.cpu_count(),
            "python": platform.python_version(),
            "load_before": [round(each, 1) for each in load],
            "niceness": os.nice(0),
            "program_shut_in": not any("cannot shut the program in" in note for note in report["notes"]),
        },
        "verdict": report["verdict"],
        "blocked_by": report["blockedBy"],
        "changes": report["counts"],
        "rules": len(report["rules"]),
        "wall_seconds": [round(run["wall"], 2) for run in runs],
        "processor_seconds": [round(run["processor"] + 2 * recording, 2) for run in runs],
        "processor_seconds_of_one_recording": round(recording, 2),
        "median_wall_seconds": median,
        "limit_seconds": LIMIT_SECONDS,
        "within_limit": median < LIMIT_SECONDS,
    }
    RESULTS.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n")
    print(json.dumps(written, indent=1, ensure_ascii=False))
    return 0 if written["within_limit"] else 1


if __name__ == "__main__":
    sys.exit(main())
