"""Process in which a checkout's program runs; ``sandbox`` starts it with the checkout on its path."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from infra.recorder.collection import collection_paused

if TYPE_CHECKING:
    from infra.recorder.recorder import Record

AS_DEPLOYED = "as-deployed"
IN_CLEAR = "inClear"


def main() -> None:
    """Write ``{"graph": […]}`` or ``{"problem": "…"}`` to the open file whose number is the third argument."""
    _, tree, stack, out, *more = sys.argv
    with collection_paused(), _expired_too() if AS_DEPLOYED in more else nullcontext():
        answer = _recording(Path(tree), stack)
    # written at the very end, and nothing of the program runs after it
    with open(int(out), "wb") as file:
        file.write(json.dumps(answer).encode())
    os._exit(0)


@contextmanager
def _expired_too() -> Iterator[None]:
    """Let expired waivers hold: what was deployed under one is still there, and a base is compared with, not judged."""
    try:
        from infra.stackfile.findings.waiver import Waiver
    except ImportError:  # a base from before waivers reached the loader
        yield
        return
    with mock.patch.object(Waiver, "in_force", return_value=True):
        yield


def _recording(tree: Path, stack: str) -> dict[str, Any]:
    try:
        from infra.recorder.command import recording_of
        from infra.recorder.recorder import graph
        from infra.recorder.stack_source import read_stack, stack_file
        from infra.stackfile.findings.finding import ConfigError, render
    except Exception as error:
        return {"problem": f"the recorder does not fit this program: {type(error).__name__}: {error}"[:4000]}
    try:
        records = recording_of(read_stack(stack_file(tree / "stacks", stack)), stack).records
        recording = {"graph": with_secrets(graph(records), records)}
        foreign = sorted(_foreign_modules(tree))
        return (
            {"problem": f"the program loads what is not part of it: {', '.join(foreign[:5])}"} if foreign else recording
        )
    except ConfigError as refused:
        # the rest is told by the judge: here the planner's errors are warnings, which say how one turns them into some
        return {"problem": "the stack file is refused:\n" + render(each for each in refused.findings if each.stops)}
    except BaseException as error:
        # an error's text is the author's as well; the reader cleans it
        return {"problem": f"{type(error).__name__}: {error}"[:4000]}


def with_secrets(entries: Sequence[dict[str, Any]], records: Sequence[Record]) -> list[dict[str, Any]]:
    """Return the graph with each entry's secrets beside it: the judge keeps a keyed hash of each, and no secret."""
    pairs = zip(entries, records, strict=True)
    return [entry if record.in_clear is None else {**entry, IN_CLEAR: record.in_clear} for entry, record in pairs]


def _foreign_modules(tree: Path) -> Iterator[str]:
    """Yield the loaded modules that lie neither in the checkout nor with Python and the installed packages."""
    allowed = tuple(f"{os.path.realpath(folder)}/" for folder in (tree, sys.prefix, sys.base_prefix))
    for name, module in list(sys.modules.items()):
        file = getattr(module, "__file__", None)
        if isinstance(file, str) and not os.path.realpath(file).startswith(allowed):
            yield name
