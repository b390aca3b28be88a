"""``ebbtide bench``. Exit status: 0 measured, 1 an endpoint did not answer, 2 wrong usage, 130 ended early."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from infra.atomic_write import atomic_write
from infra.bench import html
from infra.bench.cold import Cold, wake_summary
from infra.bench.document import Document, begun, read
from infra.bench.endpoints import endpoints
from infra.bench.measure import Measurement
from infra.bench.options import Options, check
from infra.bench.report_text import text
from infra.errors import UsageError
from infra.workspace import paths

DONE, USAGE, INTERRUPTED = 0, 2, 130


def say(line: str) -> None:
    """Print progress to standard error, apart from the result, which may go into a pipe."""
    print(line, file=sys.stderr, flush=True)


def run(options: Options) -> int:
    """Measure, keep and show. Raises ``LocalProblem`` when an endpoint does not answer."""
    try:
        check(options)
        if options.plot and options.plot.endswith(".png"):
            html.program()  # before an hour of measuring, not after
        if options.from_file:
            document, ended = read(options.from_file), False
        else:
            document, ended = _measured(options)
    except UsageError as wrong:
        say(f"error: {wrong}")
        return USAGE
    _keep(document, options)
    if options.plot:
        _plot(document, Path(options.plot))
    sys.stdout.write(_shown(document, options.format))
    if ended:
        where = f", and is in {options.out}" if options.out else ""
        say(f"ended early: what was measured until then is above{where}, marked as incomplete")
    return INTERRUPTED if ended else DONE


def _measured(options: Options) -> tuple[Document, bool]:
    at = paths()
    measured, against = endpoints(options, at)
    document: Document = begun(options)
    ended = False
    if options.levels() or options.yardstick:
        work = Measurement(options, measured, against, say, lambda _: _keep(document, options))
        document = work.document
        ended = asyncio.run(until_stopped(work.run()))
        measured = work.measured
    if options.cold and not ended:
        document["endpoints"].setdefault(
            "measured",
            {"url": measured.url, "model": measured.model, "host_header": measured.host, "engine_version": None},
        )
        cold = Cold(say)
        try:
            if options.url is None:
                cold.local(at, measured, options.cold)
            else:
                work_ = cold.elsewhere(measured, options.cold, options.idle or 0.0, options.limit_seconds)
                ended = asyncio.run(until_stopped(work_))
        except KeyboardInterrupt:
            ended = True
        finally:
            document["cold"] = wake_summary(cold.rounds, len(cold.rounds) == options.cold)
            _keep(document, options)
    document["complete"] = not ended
    return document, ended


async def until_stopped(work: Coroutine[Any, Any, None]) -> bool:
    """Run ``work``; return True if Ctrl-C or SIGTERM ended it, after it has cleaned up in order."""
    task = asyncio.create_task(work)
    loop = asyncio.get_running_loop()
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    for number in before:
        loop.add_signal_handler(number, task.cancel)
    try:
        await task
    except asyncio.CancelledError:
        return True
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            signal.signal(number, handler)
    return False


def _keep(document: Document, options: Options) -> None:
    """Write the result whole or not at all: a reader never meets half a file."""
    if options.out:
        atomic_write(Path(options.out), json.dumps(document, indent=1) + "\n")


def _plot(document: Document, file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    page = html.page(document)
    if file.suffix == ".html":
        file.write_text(page)
    else:
        rows = len(document["levels"]) + 2 * len((document["cold"] or {}).get("rounds", []))
        html.picture(page, 1000 + 170 * rows + (400 if document["yardstick"] else 0), file)


def _shown(document: Document, form: str) -> str:
    if form == "json":
        return json.dumps(document, indent=1) + "\n"
    return html.page(document) if form == "html" else text(document)
