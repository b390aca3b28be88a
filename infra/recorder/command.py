"""The command ``ebbtide graph``."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pulumi

from components.platforms.existing import nodes
from infra.program import platform as place
from infra.recorder import fake_local_facts
from infra.recorder.recorder import Recording, graph, text
from infra.recorder.run import record
from infra.recorder.stack_source import NoSuchStack, StackSource, read_stack, stack_file
from infra.redaction import redact, redacted
from infra.stackfile.findings.finding import ConfigError
from infra.workspace import PROJECT

STACKS = PROJECT / "stacks"


class GraphProblem(Exception):
    """Reason why there is no graph, in words for a person."""


def recording_of(source: StackSource, stack: str) -> Recording:
    """Run the program on a judged stack file. Raises ``GraphProblem`` if the program stops."""
    # the kubeconfig's context or the signed-in account is checked before something is created; here nothing is, and no
    # cluster is asked: a kubeconfig can name a program to run
    with (
        _local_facts(source),
        mock.patch.object(place, "inspect_machine", return_value=None),
        mock.patch.object(nodes, "nodes_with", _unasked_nodes),
    ):
        try:
            return record(stack, source.config, list(source.secret))
        except pulumi.RunError as stopped:
            raise GraphProblem(str(stopped)) from stopped
        except Exception as error:
            raise GraphProblem(_description(error)) from error


def _unasked_nodes(labels: Mapping[str, str], kubeconfig: str, context: str) -> tuple[str, ...]:
    """Return one node in place of those that carry the labels; none is there that a name could be compared with."""
    if not labels:
        raise GraphProblem("no cluster is asked")
    return ("-".join(["node-with", *(f"{key}-{value}" for key, value in sorted(labels.items()))]),)


def show(stack: str, config_file: str | None, out: str | None, verbose: bool = False) -> int:
    """Write the graph of ``stack`` to ``out`` or to standard output; everything else goes to standard error. Returns
    the exit status: 0, or 1 if there is no graph."""
    secrets: frozenset[str] = frozenset()
    try:
        file = Path(config_file) if config_file is not None else stack_file(STACKS, stack)
        source = read_stack(file)
        secrets = source.texts
        recording = recording_of(source, stack)
        written = text(redacted(graph(recording.records), secrets))
        if out is None:
            sys.stdout.write(written)
        else:
            Path(out).write_text(written, encoding="utf-8")
    except ConfigError as refused:
        return _failed(str(refused))
    except (NoSuchStack, GraphProblem) as problem:
        return _failed(redact(f"error: {problem}", secrets))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has closed the pipe
        return 0
    except OSError as error:
        why = (error.strerror or "cannot be written").lower()
        return _failed(redact(f"error: {out}: {why}; fix: give another --out"))
    # places where code could not read an unknown output: for the program's developers, not a fault
    for note in recording.notes if verbose else ():
        print(redact(f"note: {note}", secrets), file=sys.stderr)
    if source.loaded.config.platform.kind == "local" and not fake_local_facts.machine_is_up():
        message = "the local cluster is not up: what its machine would tell is made up and says so"
        print(f"note: {message} ({fake_local_facts.MARK})", file=sys.stderr)
    return 0


@contextmanager
def _local_facts(source: StackSource) -> Iterator[None]:
    if source.loaded.config.platform.kind != "local" or fake_local_facts.machine_is_up():
        yield
        return
    with fake_local_facts.in_place_of_the_machine():
        yield


def _failed(message: str) -> int:
    print(message, file=sys.stderr)
    return 1


def _description(error: Exception) -> str:
    """Describe an error of the program itself: its text, and the last place in this project that it came through."""
    here = [frame for frame in traceback.extract_tb(error.__traceback__) if _ours(frame.filename)]
    place = f" ({Path(here[-1].filename).relative_to(PROJECT)}:{here[-1].lineno})" if here else ""
    return f"the program stopped: {type(error).__name__}: {error}{place}"


def _ours(filename: str) -> bool:
    path = Path(filename)
    return path.is_relative_to(PROJECT) and ".venv" not in path.parts and not path.is_relative_to(Path(__file__).parent)
