"""Garbage collection, paused while a command builds what it keeps until it ends.

In this room because the gate lays it, with the recorder, over checkouts that may be older than this file.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def collection_paused() -> Iterator[None]:
    """Pause garbage collection. Modules, a plan and a recording live to the end: the search for cycles among them takes
    four tenths of a recording's time and frees nearly nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
