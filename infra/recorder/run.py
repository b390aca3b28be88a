"""Run of the program against a recorder in place of an engine: no plugin, no credentials, no network."""

from __future__ import annotations

import asyncio
import os
import runpy
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pulumi

from infra.recorder import pulumi_internals
from infra.recorder.collection import collection_paused
from infra.recorder.recorder import PROJECT_NAME, Recorder, Recording
from infra.recorder.unknown_outputs import tolerant
from infra.workspace import PROJECT

_T = TypeVar("_T")


class _OneThread(asyncio.SelectorEventLoop):
    """Event loop on one thread. The SDK gives each call a thread; here calls take no time, and one thread gives one
    order."""

    def run_in_executor(self, executor: Executor | None, func: Callable[..., _T], *args: Any) -> asyncio.Future[_T]:  # type: ignore[override]
        done: asyncio.Future[_T] = self.create_future()
        try:
            done.set_result(func(*args))
        except Exception as error:
            done.set_exception(error)
        return done

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Ignore follow-up errors: the program's first error is raised, and all that waited for it fails too."""


def program() -> None:
    """Run Ebbtide's own program, as ``pulumi up`` starts it."""
    runpy.run_module("infra", run_name="__main__")


def record(stack: str, config: Mapping[str, str], secret: list[str], run: Callable[[], None] = program) -> Recording:
    """Run the program of ``stack`` with ``config`` (``namespace:key`` to text, as an engine passes it) and return what
    it asked for. Raises what the program raises; leaves the working directory as it was."""
    recorder = Recorder(stack)
    exported: dict[str, Any] = {}

    async def everything() -> None:
        def body() -> Any:
            pulumi.runtime.register_stack_transformation(recorder.constructed)
            run()
            return _exports(exported, recorder)

        await pulumi_internals.run_function(body)

    with (
        _loop() as loop,
        pulumi_internals.configured(config, secret),
        pulumi_internals.answering(
            recorder.resolve, recorder.call, lambda f: tolerant(f, recorder.ledger, recorder.note)
        ),
        pulumi_internals.exporting(exported.__setitem__),
        _started_in(PROJECT / "infra"),
        collection_paused(),
    ):
        pulumi_internals.project_context(stack, PROJECT_NAME, recorder)
        loop.run_until_complete(everything())
    return recorder.finish()


async def _exports(exported: Mapping[str, Any], recorder: Recorder) -> None:
    for name, value in exported.items():
        output = pulumi.Output.from_input(value)
        recorder.recording.exports[name] = (await output.future(), await output.is_secret())


@contextmanager
def _loop() -> Iterator[asyncio.AbstractEventLoop]:
    loop = _OneThread()
    asyncio.set_event_loop(loop)
    try:
        yield loop
    finally:
        left = asyncio.all_tasks(loop)
        for task in left:
            task.cancel()
        loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
        asyncio.set_event_loop(asyncio.new_event_loop())


@contextmanager
def _started_in(folder: Path) -> Iterator[None]:
    """Change to ``folder``, where the language host starts the program: paths in the program are relative to it."""
    here = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(here)
