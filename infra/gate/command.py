"""``ebbtide gate``: two checkouts, then the base's own code as the judge."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from infra.gate.checkout import NoCheckout, copy_working_tree, extract
from infra.gate.report.wording import without, worth_hiding
from infra.gate.sandbox import environment
from infra.workspace import PROJECT

FORMATS = ("text", "md", "json", "sarif")
WORKING_TREE = "working tree"
_START = "import sys; sys.path.insert(0, sys.argv[2]); from infra.gate.judge_process import main; main()"
_STACK = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def gate(
    stack: str,
    base: str,
    head: str | None,
    form: str,
    budget: float | None,
    out: str | None,
    *,
    repository: Path = PROJECT,
    environ: Mapping[str, str] = os.environ,
    today: date | None = None,
) -> int:
    """Judge the change from ``base`` to ``head`` (None: the working tree). Returns the exit status. 0: it may pass; 1:
    it is blocked, or could not be judged; 2: the call was wrong."""
    if form not in FORMATS:
        return _wrong(f"--format {form}: allowed: {', '.join(FORMATS)}")
    if not _STACK.fullmatch(stack):
        return _wrong(f"--stack {stack!r}: allowed: the NAME of stacks/Pulumi.NAME.yaml")
    if budget is not None and not 0 <= budget < 1e12:
        return _wrong(f"--budget {budget}: allowed: US dollars a month")
    with (
        tempfile.TemporaryDirectory(prefix="ebbtide-gate-") as made,
        tempfile.TemporaryDirectory(prefix="ebbtide-runs-", ignore_cleanup_errors=True) as runs,
    ):
        room = Path(made)
        try:
            bases = extract(repository, base, room / "base")
            heads = WORKING_TREE
            if head is None:
                copy_working_tree(repository, room / "head")
            else:
                heads = extract(repository, head, room / "head")
        except NoCheckout as problem:
            return _wrong(str(problem))
        if not any((room / side / "stacks" / f"Pulumi.{stack}.yaml").is_file() for side in ("base", "head")):
            return _wrong(f"--stack {stack}: neither the base nor the head has stacks/Pulumi.{stack}.yaml")
        text, status = _judged(room, runs, stack, (bases, heads), form, budget, today or date.today())
    text = without(text, worth_hiding(environ))
    if out is None:
        sys.stdout.write(text)
    else:
        try:
            Path(out).write_text(text, encoding="utf-8")
        except OSError as error:
            return _wrong(f"--out {out}: {error.strerror}")
    return status


def _judged(
    room: Path, runs: str, stack: str, commits: tuple[str, str], form: str, budget: float | None, today: date
) -> tuple[str, int]:
    trusted, notes = room / "base", []
    if not (trusted / "infra" / "gate" / "judge_process.py").is_file():
        if any((trusted / "infra" / "gate").glob("*.py")):
            older = "the base's gate is of another layout than this command's; fix: judge with the base's own command"
            print(f"error: the change could not be judged, so it does not pass: {older}", file=sys.stderr)
            return "", 1
        trusted = PROJECT
        notes.append("the base has no gate of its own yet: judged by the rules of this command")
    told = {
        "trusted": str(trusted), "base": str(room / "base"), "head": str(room / "head"), "room": str(room),
        "runs": runs, "stack": stack, "baseCommit": commits[0], "headCommit": commits[1],
        "format": form, "budget": budget, "out": str(room / "report"), "today": today.isoformat(), "notes": notes,
    }  # fmt: skip
    home = room / "judge-home"
    home.mkdir()
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", _START, json.dumps(told), str(trusted)],
        cwd=trusted, env=environment(home), stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip
    report = room / "report"
    if done.returncode not in (0, 1) or not report.is_file():
        # the judge's output may quote the head; its last line is enough to find the place
        last = done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:300]
        print(f"error: the change could not be judged, so it does not pass: {last}", file=sys.stderr)
        return "", 1
    return report.read_text(encoding="utf-8"), done.returncode


def _wrong(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 2
