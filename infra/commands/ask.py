"""The command ``ebbtide ask``: one question to a model of any stack that is up, with its wake while that goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator

from infra.commands.options import AskOptions
from infra.console import Step, console, say, step
from infra.errors import LocalProblem
from infra.served import access, gateway
from infra.served.gateway import Began, Piece, Waiting


def run(options: AskOptions) -> int:
    """Ask, and print the answer as it comes. Returns the exit status. Raises ``LocalProblem``."""
    at = access.find(options.stack, options.url, options.key, options.key_env)
    model = options.model or next(iter(at.models), None) or _only(at)
    began = time.monotonic()
    events = gateway.ask(at, model, options.prompt, options.max_tokens)
    with step(f"asking {model}") as current:
        first, woken = _until_text(events, current)
    waited = time.monotonic() - began
    cut = False
    for piece in (first, *(event for event in events if isinstance(event, Piece))):
        console.print(piece.text, end="", markup=False, soft_wrap=True)
        cut = cut or piece.cut
    say("")
    if cut:
        say(f"  (cut after {options.max_tokens} tokens; --max-tokens N lets it go on for longer)")
    wake = ", and this request woke the model" if woken else ""
    say(f"  (first token after {waited:.1f} s{wake})")
    return 0


def _until_text(events: Iterator[Waiting | Began | Piece], current: Step) -> tuple[Piece, bool]:
    """Show each phase as it comes, until the first text."""
    woken, phase = False, ""
    for event in events:
        if isinstance(event, Began):
            woken = event.woken is True
        elif isinstance(event, Waiting):
            if event.phase != phase:
                current.part(event.phase)
                phase = event.phase
                if not console.is_terminal:
                    say(f"    {event}")
            current.note(str(event))
        elif event.text:
            return event, woken
    return Piece(""), woken


def _only(at: access.Access) -> str:
    known = [str(each["id"]) for each in gateway.states(at)]
    if len(known) != 1:
        raise LocalProblem("it is not said which model", f"--model takes: {', '.join(known) or '(there is none)'}")
    return known[0]
