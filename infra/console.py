"""Console output for long work: one line when a step starts, its pulse, one line when it ends."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.status import Status
from rich.text import Text

console = Console(stderr=False, highlight=False)
_PULSE_SECONDS = 20.0
_LIVE_SECONDS = 0.5
_FRESH_SECONDS = 10.0


def say(line: str) -> None:
    """Print one plain line; a log file gets the same text as a terminal."""
    console.print(line, markup=False, soft_wrap=True)


class Step:
    """A running step, passed to the body of ``step``; ``note`` names what goes on inside it right now."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.skipped = False
        self._started = time.monotonic()
        self._part, self._part_began = "", self._started
        self._detail, self._noted = "", self._started

    def note(self, detail: str) -> None:
        self._detail, self._noted = detail.strip(), time.monotonic()

    def part(self, name: str) -> None:
        """Begin the next of several parts, like ``building kubelet (5 of 17)``; it is timed by itself."""
        self._part, self._part_began, self._detail = name, time.monotonic(), ""

    def already(self) -> None:
        """Mark the step as skipped, because its result is in place: no time is printed."""
        self.skipped = True

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._started

    def pulse(self) -> str:
        """Return the current state: the part and its time; the last note only while it is fresh, because a program
        silent since then is long past it."""
        now = time.monotonic()
        parts = [f"{self.title}, {self.seconds:.0f} s"]
        parts += [f"{self._part}, {now - self._part_began:.0f} s"] if self._part else []
        parts += [self._detail[:90]] if self._detail and now - self._noted < _FRESH_SECONDS else []
        return ": ".join(parts)


@contextmanager
def step(title: str) -> Iterator[Step]:
    """Time one step and show that it is alive and what it is doing: on a terminal in one live line, else in a line
    every 20 s."""
    current = Step(title)
    done = threading.Event()
    live = console.status("", spinner="dots") if console.is_terminal and not console.is_dumb_terminal else None

    def show() -> None:
        if live is not None:
            live.update(Text(current.pulse(), overflow="ellipsis", no_wrap=True))
        else:
            say(f"    … {current.pulse()}")

    def pulse() -> None:
        while not done.wait(_LIVE_SECONDS if live is not None else _PULSE_SECONDS):
            show()

    say(f"  • {title}")
    thread = threading.Thread(target=pulse, daemon=True)
    if live is not None:
        show()
        live.start()
    thread.start()
    try:
        yield current
    except BaseException:
        done.set()
        _end(live)
        say(f"  ✗ {title}, after {current.seconds:.0f} s")
        raise
    finally:
        done.set()
        thread.join(timeout=1)
        _end(live)
    if not current.skipped:
        say(f"  ✓ {title}, {current.seconds:.1f} s")


def _end(live: Status | None) -> None:
    """Remove the live line and restore the cursor; safe to do twice."""
    if live is not None:
        live.stop()
