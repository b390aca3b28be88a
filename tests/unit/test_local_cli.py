"""The command line from outside: text and a status, never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from infra import cli
from infra.local.ask import Access
from infra.local.paths import PROJECT, Paths

Ebbtide = Callable[..., tuple[int, str]]


def in_a_process(folder: Path, *arguments: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "infra.cli", *arguments],
        capture_output=True, text=True, cwd=PROJECT, timeout=60, check=False,
        env={**os.environ, "EBBTIDE_STATE": str(folder / "state"), "EBBTIDE_CACHE": str(folder / "cache")},
    )  # fmt: skip
    shown = done.stdout + done.stderr
    assert "Traceback" not in shown
    return done.returncode, shown


@pytest.fixture
def ebbtide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[Ebbtide]:
    """The same within this process, which is quicker."""
    monkeypatch.setenv("EBBTIDE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("EBBTIDE_CACHE", str(tmp_path / "cache"))
    before = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["ebbtide", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        shown = capsys.readouterr()
        return int(ended.value.code or 0), shown.out + shown.err

    yield run
    signal.signal(signal.SIGTERM, before)


def test_without_a_stack_the_way_to_one_is_told(tmp_path: Path, ebbtide: Ebbtide) -> None:
    told = (1, "error: the local stack is not up\n  fix: run `make local` or `ebbtide local up`\n")
    assert in_a_process(tmp_path, "local", "ask", "hello") == told
    assert ebbtide("local", "ask", "hello") == told
    assert ebbtide("local", "key") == told


def test_the_status_of_nothing_is_one(ebbtide: Ebbtide) -> None:
    code, shown = ebbtide("local", "status")
    assert (code, shown.count("\n")) == (1, 1)
    assert "not running" in shown


def test_an_unknown_command_or_option_is_status_two(ebbtide: Ebbtide) -> None:
    code, shown = ebbtide("locale", "up")
    assert code == 2
    assert "error: No such command 'locale'" in shown
    code, shown = ebbtide("local", "up", "--fast")
    assert code == 2
    assert "error: No such option" in shown
    assert "--fast" in shown


def test_help_names_the_commands_and_is_no_error(ebbtide: Ebbtide) -> None:
    code, shown = ebbtide("local", "--help")
    assert code == 0
    assert all(command in shown for command in ("up", "status", "ask", "logs", "down", "key"))


def test_a_gateway_that_does_not_answer_is_told_without_the_key(tmp_path: Path, ebbtide: Ebbtide) -> None:
    state = tmp_path / "state"
    state.mkdir()
    Access("http://127.0.0.1:9", "sk-very-secret", ("small",)).save(Paths(tmp_path / "cache", state))
    code, shown = ebbtide("local", "key")
    assert (code, shown) == (0, "sk-very-secret\n")
    code, shown = in_a_process(tmp_path, "local", "ask", "hello")
    assert code == 1
    assert "no connection to http://127.0.0.1:9" in shown
    assert "sk-very-secret" not in shown


def test_an_interruption_says_that_nothing_is_lost(ebbtide: Ebbtide, monkeypatch: pytest.MonkeyPatch) -> None:
    from infra.local import status

    def interrupted() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("not ended by the signal")

    monkeypatch.setattr(status, "show", interrupted)
    code, shown = ebbtide("local", "status")
    assert code == 130
    assert shown == "interrupted; nothing is lost: the same command goes on from here\n"
