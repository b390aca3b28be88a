"""Advice for the user when `pulumi up` or `destroy` ends badly: what is there now, and how to go on."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

CHANGING = ("up", "update", "destroy", "down")
_TIMEOUT_SECONDS = 30


def changes(arguments: Sequence[str]) -> bool:
    """Return True if a command line changes a stack, so that a failure half-way calls for advice."""
    return bool(arguments) and arguments[0] in CHANGING and not {"--help", "-h"} & set(arguments)


def stacks_named(arguments: Sequence[str]) -> list[str]:
    """Return the stacks that a command line names by option; the engine takes the last.

    Those of the form ``--stack=NAME`` follow those of the form ``--stack NAME``.
    """
    after = [value for option, value in itertools.pairwise(arguments) if option in ("-s", "--stack")]
    return after + [word.partition("=")[2] for word in arguments if word.startswith(("--stack=", "-s="))]


def advice(command: str, stack: str, resources: int | None) -> str:
    """Return the closing lines. ``resources`` is the count in the state; None where it could not be read."""
    known = "what was made is in its state" if resources is None else f"its state has {resources} resources now"
    verb = "destroy" if command in ("destroy", "down") else "up"
    lines = [
        f"{verb} of {stack} did not finish; {known}, and nothing of it is lost.",
        f"  what there is:  pulumi stack --stack {stack}",
        f"  to go on:       pulumi {verb} --stack {stack}",
    ]
    if verb == "up":
        lines.append(f"  to take it all away again:  pulumi destroy --stack {stack}")
    return "\n".join(lines)


def run(program: Path, arguments: Sequence[str], env: Mapping[str, str]) -> int:
    """Run the engine as a child and return its exit status; when it fails, print what there is now."""
    # the terminal sends Ctrl-C to both; the engine decides what it means, as it would without us
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        process = subprocess.Popen([program, *arguments], env=dict(env), restore_signals=True, preexec_fn=_listen)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda received, _: process.send_signal(received))
        status = process.wait()
    finally:
        signal.signal(signal.SIGINT, previous)
    if status != 0:
        state = _stack_state(program, next(reversed(stacks_named(arguments)), None), env)
        if state:
            sys.stderr.write(advice(arguments[0], *state) + "\n")
    return status if status >= 0 else 128 - status


def _listen() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _stack_state(program: Path, named: str | None, env: Mapping[str, str]) -> tuple[str, int | None] | None:
    """Return the stack and its number of resources; None where there is no stack, and so nothing to go on with."""
    try:
        listed = subprocess.run(
            [program, "stack", "ls", "--json"],
            env=dict(env),
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_SECONDS,
            check=True,
        )
        stacks = json.loads(listed.stdout)
    except (subprocess.SubprocessError, OSError, ValueError):
        return (named, None) if named else None
    for each in stacks:
        if each["name"].rpartition("/")[2] == (named or "").rpartition("/")[2] if named else each.get("current"):
            count = each.get("resourceCount")
            return each["name"], int(count) if count is not None else None
    return None
