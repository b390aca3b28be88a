"""``ebbtide doctor``: everything that a first ``up`` needs of its place, asked beforehand with calls that only read.

Exit status: 0 nothing is wrong, 1 something is, or nothing could be asked; 2 wrong usage.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import httpx
from rich.console import Console

from components.platforms.checkup import Answer, CannotAsk, Check, Tools, good, problem
from components.platforms.kinds import kind_of
from infra.commands.options import DoctorOptions
from infra.commands.plan import CLEAN, ERRORS, USAGE, file_of
from infra.errors import LocalProblem, UsageError
from infra.kube_client import client_of
from infra.lock import registry
from infra.lock.pins import ImageName, pins
from infra.redaction import redact
from infra.stackfile.findings.waivers import WAIVERS_FILE, usable_waivers
from infra.stackfile.load import read_file
from infra.stackfile.schema.stack import StackConfig
from infra.workspace import PROJECT

_CALL_SECONDS, _ALL_SECONDS = 10.0, 50.0
_MARKS = {"ok": "ok     ", "problem": "problem", "unknown": "unknown"}

Line = tuple[str, Answer]


def run(options: DoctorOptions, tools: Tools | None = None) -> int:
    """Print the report; return the exit status."""
    try:
        reading = read_file(file_of(options.stack, options.config_file), usable_waivers(WAIVERS_FILE).waivers)
    except UsageError as wrong:
        print(f"error: {wrong}", file=sys.stderr)
        return USAGE
    if reading.config is None:
        print(
            f"error: the stack file is refused; fix: ebbtide plan -s {redact(options.stack)} says why", file=sys.stderr
        )
        return ERRORS
    tools = tools or _tools()
    lines = list(answered(checks(reading.config, options.stack, tools)))
    secrets = reading.secrets.texts | tools.secrets
    shown = [_without_secrets(subject, answer, secrets) for subject, answer in lines]
    outcomes = [answer.outcome for _, answer in shown]
    status = ERRORS if "problem" in outcomes or "ok" not in outcomes else CLEAN
    if options.format == "json":
        rows = [{"subject": subject, **vars(answer)} for subject, answer in shown]
        verdict = "problems" if status else "ok"
        sys.stdout.write(
            json.dumps({"stack": redact(options.stack, secrets), "verdict": verdict, "lines": rows}, indent=1) + "\n"
        )
    else:
        sys.stdout.write("".join(f"{line}\n" for line in _text(shown)))
    return status


def checks(stack: StackConfig, name: str, tools: Tools) -> list[Check]:
    """Return what to ask: the place's own questions, then those of the images, which are the same everywhere."""
    # pulumi takes half a second to import
    from infra.program.platform import about, requests
    from infra.recorder.recorder import PROJECT_NAME

    ask = kind_of(stack.platform).doctor()
    place = list(ask(stack.platform, requests(stack), about(stack, PROJECT_NAME, name), tools)) if ask else []
    return [*place, *_images(tools)]


def _images(tools: Tools) -> Iterator[Check]:
    """Yield a check for each public image that the stack's own are built from: the digest, not what its tag means."""
    for image in sorted({pin.image for pin in pins(PROJECT)}, key=str):
        yield Check(subject=f"image {image.tagged}", ask=partial(_image, image, tools))


def _image(image: ImageName, tools: Tools) -> Iterator[Answer]:
    by_digest = replace(image, tag=image.digest or image.tag, digest=None)
    try:
        digest = registry.digest_of(by_digest, tools.client)
    except registry.NotThere:
        yield problem(f"{by_digest.tag} is not in the registry any more", "ebbtide lock --update, then build anew")
    except registry.NotRead as unread:
        raise CannotAsk(str(unread)) from None
    else:
        if image.digest not in (None, digest):
            raise CannotAsk(f"the registry answers {image.digest} with {digest}")
        yield good(f"{by_digest.tag[:19]} is there" + ("" if image.digest else "; it has no digest yet: ebbtide lock"))


def answered(all_checks: Sequence[Check], seconds: float = _ALL_SECONDS) -> Iterator[Line]:
    """Ask all at once, each in a thread that nobody waits for at the end: an interruption ends them, and so does the
    deadline. Yield the lines in the order of ``all_checks``."""
    done: queue.SimpleQueue[tuple[int, list[Answer]]] = queue.SimpleQueue()
    for index, check in enumerate(all_checks):
        threading.Thread(target=lambda at=index, each=check: done.put((at, _answers(each))), daemon=True).start()
    answers_by_index: dict[int, list[Answer]] = {}
    until = time.monotonic() + seconds
    console = Console(stderr=True, highlight=False)
    with console.status("") if console.is_terminal else nullcontext() as status:
        while len(answers_by_index) < len(all_checks):
            if status is not None:
                # the first word is the check's own; the others come from the stack file, which may hold a secret
                waiting = next(
                    check.subject.split()[0] for at, check in enumerate(all_checks) if at not in answers_by_index
                )
                status.update(f"{len(answers_by_index)} of {len(all_checks)} answered, waiting for: {waiting}")
            try:
                at, answers = done.get(timeout=max(0.0, until - time.monotonic()))
            except queue.Empty:
                break
            answers_by_index[at] = answers
    late = [CannotAsk(f"no answer within {seconds:g} s", "look at the network and its proxy").answer()]
    for at, check in enumerate(all_checks):
        yield from ((check.subject, answer) for answer in answers_by_index.get(at, late))


def _answers(check: Check) -> list[Answer]:
    try:
        return list(check.ask())
    except CannotAsk as missing:
        return [missing.answer()]
    except Exception as error:
        # an answer of another shape than documented must not hide those of the other checks; its text may hold secrets
        return [CannotAsk(f"the answer is not as documented ({type(error).__name__})").answer()]


def _text(lines: Iterable[Line]) -> Iterator[str]:
    """Yield the report; what cannot be asked for one and the same reason stands in one line."""
    together: dict[Answer, list[str]] = {}
    for subject, answer in lines:
        if answer.outcome == "unknown":
            together.setdefault(answer, []).append(subject)
        else:
            yield _line(subject, answer)
    for answer, subjects in together.items():
        yield _line("; ".join(subjects), answer)
    count = {each: sum(1 for _, answer in lines if answer.outcome == each) for each in _MARKS}
    yield f"{count['ok']} ok, {count['problem']} with a problem, {count['unknown']} that could not be asked"


def _line(subject: str, answer: Answer) -> str:
    return f"{_MARKS[answer.outcome]}  {subject}: {answer.text}" + (
        f"\n         fix: {answer.fix}" if answer.fix else ""
    )


def _without_secrets(subject: str, answer: Answer, secrets: Iterable[str]) -> Line:
    return redact(subject, secrets), replace(answer, text=redact(answer.text, secrets), fix=redact(answer.fix, secrets))


def _tools() -> Tools:
    return Tools(
        client=httpx.Client(timeout=_CALL_SECONDS, follow_redirects=True, headers={"user-agent": "ebbtide-doctor"}),
        environ=os.environ,
        run=_output,
        cluster=_cluster,
        documents=PROJECT / "docs/clouds",
        now=datetime.now(UTC),
    )


def _output(command: Sequence[str]) -> str:
    """Return what a program writes. Its errors are not shown: they may quote what it was given."""
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=_CALL_SECONDS * 2, check=True).stdout
    except FileNotFoundError:
        raise CannotAsk(f"`{command[0]}` is not on this machine", f"install {command[0]}") from None
    except subprocess.TimeoutExpired:
        raise CannotAsk(f"`{command[0]}` does not end in time") from None
    except (subprocess.CalledProcessError, OSError):
        raise CannotAsk(f"`{' '.join(command[:3])}` fails", f"run it to see why: {' '.join(command)}") from None


def _cluster(kubeconfig: str | None, context: str | None) -> httpx.Client:
    try:
        return client_of(kubeconfig, context)
    except LocalProblem as missing:
        why, _, fix = str(missing).partition("\n  fix: ")
        raise CannotAsk(why, fix) from None
