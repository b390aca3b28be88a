"""What a person sees while something long goes on: one line when a step starts, its pulse, one line when it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console

console = Console(stderr=False, highlight=False)
_PULSE_SECONDS = 20.0


def say(line: str) -> None:
    """One plain line; a log file gets the same text as a terminal."""
    console.print(line, markup=False, soft_wrap=True)


class Step:
    """Handed to the body of ``step``; ``note`` names what goes on inside it right now."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.detail = ""
        self.skipped = False

    def note(self, detail: str) -> None:
        self.detail = detail.strip()

    def already(self) -> None:
        """The step found its result in place; say nothing about time."""
        self.skipped = True


@contextmanager
def step(title: str) -> Iterator[Step]:
    """Time one step. Every 20 s a line tells that it is alive and what it is at."""
    current = Step(title)
    started = time.monotonic()
    done = threading.Event()

    def pulse() -> None:
        while not done.wait(_PULSE_SECONDS):
            at = f": {current.detail[:90]}" if current.detail else ""
            say(f"    … {title}, {time.monotonic() - started:.0f} s{at}")

    say(f"  • {title}")
    thread = threading.Thread(target=pulse, daemon=True)
    thread.start()
    try:
        yield current
    except BaseException:
        say(f"  ✗ {title}, after {time.monotonic() - started:.0f} s")
        raise
    finally:
        done.set()
        thread.join(timeout=1)
    if not current.skipped:
        say(f"  ✓ {title}, {time.monotonic() - started:.1f} s")
