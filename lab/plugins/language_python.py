"""Stand-in for Pulumi's Python language host: runs programs with the interpreter it runs under, policy packs with that
of their virtual environment where they have one.

A program ends with plain text instead of a traceback by raising `pulumi.RunError` (or a subclass).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import platform
import runpy
import subprocess
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import pulumi
from google.protobuf import empty_pb2
from pulumi.automation._server import LanguageServer
from pulumi.runtime import reset_options, run_in_stack, set_all_config
from pulumi.runtime.proto import language_pb2, language_pb2_grpc, plugin_pb2

from lab.plugins.process import run_server

VERSION = f"{metadata.version('pulumi')}+stand-in"


class LanguageHost(LanguageServer):
    """Language host for one engine operation; the engine starts a fresh process for each."""

    def __init__(self) -> None:
        super().__init__(lambda: None)
        self._children: list[subprocess.Popen[bytes]] = []

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: N802
        return language_pb2.LanguageHandshakeResponse()

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        return plugin_pb2.PluginInfo(version=VERSION)

    def About(self, request: Any, context: Any) -> Any:  # noqa: N802
        return language_pb2.AboutResponse(
            executable=sys.executable,
            version=platform.python_version(),
            metadata={"host": f"stand-in {VERSION}"},
        )

    def GetProgramDependencies(self, request: Any, context: Any) -> Any:  # noqa: N802
        packages = [language_pb2.DependencyInfo(name=d.name, version=d.version) for d in metadata.distributions()]
        return language_pb2.GetProgramDependenciesResponse(dependencies=sorted(packages, key=lambda d: d.name))

    def InstallDependencies(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        yield language_pb2.InstallDependenciesResponse(
            stdout=b"nothing installed: with the stand-in language host, `make setup` makes the environment\n"
        )

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.end_children()
        return empty_pb2.Empty()

    def Run(self, request: Any, context: Any) -> Any:  # noqa: N802
        if refusal := wrong_environment(request.info):
            return language_pb2.RunResponse(error=refusal)
        directory = request.info.program_directory or request.pwd
        program = str(Path(directory, request.info.entry_point or "."))
        os.chdir(request.pwd or directory)
        return _run(request, lambda: runpy.run_path(program, run_name="__main__"), directory)

    def RunPlugin(self, request: Any, context: Any) -> Iterator[Any]:  # noqa: N802
        """Start a policy pack (or a Python plugin) as a child and pass on what it prints, its port first."""
        info = request.info
        target = str(Path(info.program_directory or request.program, info.entry_point or "."))
        child = subprocess.Popen(
            [environment_python(info) or sys.executable, "-u", target, *request.args],
            cwd=request.pwd or info.program_directory,
            env=dict(item.split("=", 1) for item in request.env) or None,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._children.append(child)
        context.add_callback(lambda: _end(child))
        yield from _streamed(child)
        yield language_pb2.RunPluginResponse(exitcode=child.wait())

    def end_children(self) -> None:
        """Stop every policy pack that still runs."""
        for child in self._children:
            _end(child)


def environment_python(info: Any) -> str | None:
    """Return the interpreter of the project's ``virtualenv`` option; None when there is no such environment."""
    options = {key: value.string_value for key, value in info.options.fields.items()}
    if not options.get("virtualenv"):
        return None
    python = Path(info.root_directory or info.program_directory, options["virtualenv"], "bin", "python")
    return str(python) if python.exists() else None


def wrong_environment(info: Any) -> str | None:
    """Return why this process cannot run the program: it belongs to another virtual environment than the project's."""
    python = environment_python(info)
    if python is None or Path(python).parent.parent.resolve() == Path(sys.prefix).resolve():
        return None
    return (
        f"the stand-in language host runs in {sys.prefix}, the project's environment is "
        f"{Path(python).parent.parent}: run `make setup` in this project to point the host at it"
    )


def _run(request: Any, program: Callable[[], Any], directory: str) -> Any:
    logging.getLogger("asyncio").setLevel(logging.CRITICAL)  # unobserved tasks are reported by their resources
    reset_options(
        project=request.project, monitor_address=request.monitor_address, stack=request.stack,
        engine_address=request.args[0] if request.args else "", parallel=request.parallel,
        preview=request.dryRun, organization=request.organization or "organization",
    )  # fmt: skip
    set_all_config(dict(request.config), list(request.configSecretKeys))
    loop = asyncio.new_event_loop()
    loop.set_default_executor(ThreadPoolExecutor(max_workers=max(request.parallel, 1) * 4))
    try:
        loop.run_until_complete(run_in_stack(program))
        return language_pb2.RunResponse()
    except grpc.RpcError as error:
        if error.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED):
            # The engine has closed its side, because it was cancelled or a resource failed, and has said why.
            return language_pb2.RunResponse(bail=True)
        return _reported(f"the engine refused: {error.details()}")
    except pulumi.RunError as error:
        return _reported(str(error))
    except SystemExit as error:
        if error.code in (None, 0):
            return language_pb2.RunResponse()
        return _reported(f"the program ended itself: {error.code}")
    except BaseException as error:
        return _reported("the program failed:\n" + program_traceback(error, directory))
    finally:
        _settle(loop)
        loop.close()
        sys.stdout.flush()
        sys.stderr.flush()


def _settle(loop: asyncio.AbstractEventLoop) -> None:
    """Cancel what an error left unfinished; a pending task would be reported as a failure of its own."""
    pending = asyncio.all_tasks(loop)
    for task in pending:
        task.cancel()
    for task in pending:
        with contextlib.suppress(BaseException):
            loop.run_until_complete(task)


def _reported(message: str) -> Any:
    with contextlib.suppress(grpc.RpcError):
        pulumi.log.error(message)
        # The log call only hands the line over; the engine must have it before the answer stops it.
        return language_pb2.RunResponse(bail=True)
    return language_pb2.RunResponse(error=message)


def program_traceback(error: BaseException, directory: str) -> str:
    """Return the traceback from the program's own first line on: how it was started helps nobody."""
    frames = traceback.extract_tb(error.__traceback__)
    first = next((n for n, frame in enumerate(frames) if frame.filename.startswith(directory)), 0)
    lines = traceback.format_list(frames[first:]) + traceback.format_exception_only(error)
    return "".join(lines).rstrip()


def _streamed(child: subprocess.Popen[bytes]) -> Iterator[Any]:
    lines: SimpleQueue[tuple[str, bytes] | None] = SimpleQueue()

    def read(kind: str, pipe: Any) -> None:
        for line in pipe:
            lines.put((kind, line))
        lines.put(None)

    for kind, pipe in (("stdout", child.stdout), ("stderr", child.stderr)):
        threading.Thread(target=read, args=(kind, pipe), daemon=True).start()
    open_pipes = 2
    while open_pipes:
        item = lines.get()
        if item is None:
            open_pipes -= 1
        else:
            kind, line = item
            answer = language_pb2.RunPluginResponse
            yield answer(stdout=line) if kind == "stdout" else answer(stderr=line)


def _end(child: subprocess.Popen[bytes]) -> None:
    if child.poll() is None:
        child.terminate()
        try:
            child.wait(3)
        except subprocess.TimeoutExpired:
            child.kill()


if __name__ == "__main__":
    host = LanguageHost()
    run_server(
        lambda server: language_pb2_grpc.add_LanguageRuntimeServicer_to_server(host, server),
        host.end_children,
    )
