"""``ebbtide gate``: two checkouts, then the base's own code as the judge."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from infra.gate.checkout import Checkout, NoCheckout, copy_working_tree, extract
from infra.gate.deployments import STACK_NAME
from infra.gate.report import overview
from infra.gate.report.document import FORMATS, sarif_of
from infra.gate.report.wording import without, worth_hiding
from infra.gate.sandbox import environment
from infra.workspace import PROJECT

_START = "import sys; sys.path.insert(0, sys.argv[2]); from infra.gate.judge_process import main; main()"


@dataclass(frozen=True, kw_only=True)
class Options:
    """Options of the command. ``head`` None: the working tree; no ``stacks``: all that the change concerns; ``budget``
    in US dollars a month; ``reports``: a folder for every report in every format."""

    base: str
    head: str | None = None
    stacks: tuple[str, ...] = ()
    form: str = "text"
    budget: float | None = None
    out: str | None = None
    reports: str | None = None
    unconfined: bool = False


class WrongCall(Exception):
    """The command was called wrongly; the message says what is allowed."""


class NotJudged(Exception):
    """The judge has not come to a verdict; the message says why."""


def gate(
    options: Options,
    *,
    repository: Path = PROJECT,
    environ: Mapping[str, str] = os.environ,
    today: date | None = None,
) -> int:
    """Judge a change. Returns the exit status. 0: it may pass; 1: it is blocked, or could not be judged; 2: the call
    was wrong; 3: nothing blocks it, and a code owner has to agree."""
    try:
        with tempfile.TemporaryDirectory(prefix="ebbtide-gate-") as folder:
            room = Path(folder)
            bases, heads = _check_out(options, repository, room)
            status = _judge(room, options, bases, heads, today or date.today())
            _deliver(room / "reports", options, worth_hiding(environ))
            return status
    except NotJudged as problem:
        print(f"error: the change could not be judged, so it does not pass: {problem}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"error: the change could not be judged, so it does not pass: {error.strerror}", file=sys.stderr)
        return 1
    except (NoCheckout, WrongCall) as problem:
        print(f"error: {problem}", file=sys.stderr)
        return 2


def _check_out(options: Options, repository: Path, room: Path) -> tuple[Checkout, Checkout]:
    """Copy both sides to ``base`` and ``head`` in the room. Raises ``WrongCall`` and ``NoCheckout``."""
    if options.form not in FORMATS:
        raise WrongCall(f"--format {options.form}: allowed: {', '.join(FORMATS)}")
    if options.budget is not None and not 0 <= options.budget < 1e12:
        raise WrongCall(f"--budget {options.budget}: allowed: US dollars a month")
    for stack in options.stacks:
        if not STACK_NAME.fullmatch(stack):
            raise WrongCall(f"--stack {stack!r}: allowed: the NAME of stacks/Pulumi.NAME.yaml")
    bases = extract(repository, options.base, room / "base")
    if options.head is None:
        heads = copy_working_tree(repository, room / "head")
    else:
        heads = extract(repository, options.head, room / "head")
    for stack in options.stacks:
        if not any((room / side / "stacks" / f"Pulumi.{stack}.yaml").is_file() for side in ("base", "head")):
            raise WrongCall(f"--stack {stack}: neither the base nor the head has stacks/Pulumi.{stack}.yaml")
    return bases, heads


def _judge(room: Path, options: Options, bases: Checkout, heads: Checkout, today: date) -> int:
    """Let the base's own code judge, in a process of its own; the reports go to ``reports`` in the room. Raises
    ``NotJudged``."""
    trusted, notes = room / "base", []
    if not (trusted / "infra" / "gate" / "judge_process.py").is_file():
        if any((trusted / "infra" / "gate").glob("*.py")):
            raise NotJudged("the base's gate is of another layout than this command's; fix: judge with the base's own")
        trusted = PROJECT
        notes.append("the base has no gate of its own yet: judged by the rules of this command")
    reports, home = room / "reports", room / "judge-home"
    reports.mkdir()
    home.mkdir()
    request = {
        "trusted": str(trusted), "base": str(room / "base"), "head": str(room / "head"),
        "baseCommit": bases.commit, "headCommit": heads.commit, "refused": heads.refused, "stacks": options.stacks,
        "budget": options.budget, "today": today.isoformat(), "unconfined": options.unconfined, "out": str(reports),
        "notes": notes,
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", _START, json.dumps(request), str(trusted)],
        cwd=trusted, env=environment(home), stdin=subprocess.DEVNULL, capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode not in overview.STATUS.values() or not (reports / f"{overview.NAME}.json").is_file():
        # the judge's output may quote the head; its last line is enough to find the place
        raise NotJudged(without(done.stderr.decode(errors="replace").strip().rpartition("\n")[2][:300], ()))
    return done.returncode


def _deliver(reports: Path, options: Options, hidden: set[str]) -> None:
    """Write what was asked for. Raises ``WrongCall`` where it cannot be written."""
    for file in reports.iterdir():
        file.write_text(without(file.read_text(encoding="utf-8"), hidden), encoding="utf-8")
    try:
        if options.reports is not None:
            shutil.copytree(reports, options.reports, dirs_exist_ok=True)
        if options.out is not None:
            Path(options.out).write_text(_whole(reports, options.form), encoding="utf-8")
    except OSError as error:
        raise WrongCall(
            f"{options.reports or options.out}: {(error.strerror or 'cannot be written').lower()}"
        ) from None
    if options.out is None and options.reports is None:
        sys.stdout.write(_whole(reports, options.form))


def _whole(reports: Path, form: str) -> str:
    """Return the reports on all stacks as one text; with several stacks, the report on the whole change comes first."""
    whole = json.loads((reports / f"{overview.NAME}.json").read_text(encoding="utf-8"))
    texts = [(reports / f"{stack}.{form}").read_text(encoding="utf-8") for stack in whole["stacks"]]
    if form == "json":
        combined = {**whole, "reports": [json.loads(text) for text in texts]}
        return json.dumps(combined, indent=2, ensure_ascii=False) + "\n"
    if form == "sarif":
        runs = [run for text in texts for run in json.loads(text)["runs"]] or [overview.sarif_run(whole)]
        return json.dumps(sarif_of(runs), indent=2, ensure_ascii=False) + "\n"
    if len(texts) != 1:
        texts.insert(0, (reports / f"{overview.NAME}.{form}").read_text(encoding="utf-8"))
    return "\n".join(texts)
