"""Broken files by the thousand: ``python -m benchmarks.fuzz [how many]`` (10,000), in this process.

Three doors, each with files out of `tests/unit/fuzz_kit.py`: the loader, the whole of ``ebbtide plan`` in each of its
formats (without counting resources, which only a good stack gets to), and ``ebbtide fit`` on a model's folder. What
must come out is a sentence and a known exit status. The result goes to ``docs/results/fuzz.json``; the command ends
with 1 where anything else came out, and says what went in.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import io
import json
import os
import platform
import sys
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from infra.commands import fit, plan
from infra.commands.options import FitOptions, PlanOptions
from infra.stackfile import ConfigError, load_file
from infra.workspace import PROJECT
from tests.unit.fuzz_kit import CONFIGS, CORPUS, model_files, stack_texts

SHARES = {"loader": 0.5, "plan": 0.3, "fit": 0.2}
SLOWEST_SECONDS = 10.0
FORMATS = ("text", "md", "json", "html")
SEED = 20261121


class Tally:
    """What came out of one door, and the first of each kind of failure with what went in."""

    def __init__(self) -> None:
        self.outcomes: Counter[str] = Counter()
        self.slowest = 0.0
        self.failures: dict[str, str] = {}

    def note(self, act: Callable[[], str], content: bytes) -> None:
        """Runs ``act`` and counts what it says; an exception is a failure, told apart by where it was raised."""
        began = time.monotonic()
        try:
            outcome = act()
        except Exception as error:
            frame = traceback.extract_tb(error.__traceback__)[-1]
            where = f"{type(error).__name__} in {Path(frame.filename).name}:{frame.lineno} {frame.name}"
            self.failures.setdefault(where, f"{traceback.format_exc()}\n{content.decode(errors='replace')}")
            outcome = "traceback"
        self.outcomes[outcome] += 1
        took = time.monotonic() - began
        if took > SLOWEST_SECONDS:
            self.failures.setdefault(f"slow: {took:.1f} s", content.decode(errors="replace"))
        self.slowest = max(self.slowest, took)


def through_loader(folder: Path, content: bytes) -> str:
    """What the loader makes of a file."""
    file = folder / "Pulumi.fuzzed.yaml"
    file.write_bytes(content)
    message = ""
    try:
        load_file(file)
    except ConfigError as refused:
        message = str(refused) or "nothing"
    assert all("; allowed: " in line and "; fix: " in line for line in message.splitlines()), message
    return "refused" if message else "accepted"


def through_plan(folder: Path, content: bytes, form: str) -> str:
    """What ``ebbtide plan --config-file`` says."""
    file = folder / "Pulumi.fuzzed.yaml"
    file.write_bytes(content)
    options = PlanOptions(stack="fuzzed", config_file=str(file), format=form, graph=False)
    return _outcome(lambda: plan.run(options))


def through_fit(folder: Path, files: Mapping[str, bytes], form: str) -> str:
    """What ``ebbtide fit FOLDER`` says."""
    for old in folder.iterdir():
        old.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return _outcome(lambda: fit.run(FitOptions(model=str(folder), format=form)))


def _outcome(run: Callable[[], int]) -> str:
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = run()
    assert status in (0, 1, 2), status
    assert out.getvalue() if status < 2 else err.getvalue().startswith("error: ")
    (out.getvalue() + err.getvalue()).encode()
    assert "Traceback" not in err.getvalue()
    return f"exit {status}"


def fuzzed(count: int, door: str, folder: Path) -> Tally:
    """So many files through one door."""
    tally = Tally()
    forms = st.sampled_from(FORMATS if door == "plan" else ("text", "json"))
    source: st.SearchStrategy[Any] = model_files() if door == "fit" else stack_texts()

    @seed(SEED)
    @settings(
        max_examples=count, deadline=None, database=None, phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(source, forms)
    def go(content: Any, form: str) -> None:
        if door == "loader":
            tally.note(lambda: through_loader(folder, content), content)
        elif door == "plan":
            tally.note(lambda: through_plan(folder, content, form), content)
        else:
            tally.note(lambda: through_fit(folder, content, form), b"\n".join(content.values()))

    go()
    return tally


def main() -> int:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    began = time.monotonic()
    tallies: dict[str, Tally] = {}
    for door, share in SHARES.items():
        with tempfile.TemporaryDirectory(prefix="ebbtide-fuzz-") as root:
            tallies[door] = fuzzed(round(count * share), door, Path(root))
    written = {
        "what": "broken files: how many went in at each door, what came out, and tracebacks",
        "date": dt.datetime.now(dt.UTC).date().isoformat(),
        "machine": {"cpus": os.cpu_count(), "kernel": platform.release()},
        "corpus": {"stack files": len(CORPUS), "model configurations": len(CONFIGS)},
        "seed": SEED,
        "inputs": sum(tally.outcomes.total() for tally in tallies.values()),
        "tracebacks": sum(tally.outcomes["traceback"] for tally in tallies.values()),
        "doors": {
            door: {
                "inputs": tally.outcomes.total(),
                "outcomes": dict(sorted(tally.outcomes.items())),
                "slowest_seconds": round(tally.slowest, 2),
                "failures": sorted(tally.failures),
            }
            for door, tally in tallies.items()
        },
        "seconds": round(time.monotonic() - began),
    }
    (PROJECT / "docs" / "results" / "fuzz.json").write_text(json.dumps(written, indent=1) + "\n")
    print(json.dumps(written, indent=1))
    for tally in tallies.values():
        for where, what in tally.failures.items():
            print(f"\n--- {where}\n{what}", file=sys.stderr)
    return 1 if any(tally.failures for tally in tallies.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
