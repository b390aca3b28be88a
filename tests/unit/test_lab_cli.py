"""The command line from outside: text and a status, never a traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from infra import cli
from infra.served import access as served
from infra.workspace import PROJECT, Paths
from lab import ask as asking
from lab.ask import Access

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


@pytest.mark.slow
def test_without_a_stack_the_way_to_one_is_told(tmp_path: Path, ebbtide: Ebbtide) -> None:
    output = (1, "error: the local stack is not up\n  fix: run `make local` or `ebbtide local up`\n")
    assert in_a_process(tmp_path, "local", "ask", "hello") == output
    assert ebbtide("local", "ask", "hello") == output
    assert ebbtide("local", "key") == output


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


@pytest.mark.slow
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


@contextmanager
def gateway(*answers: dict[str, Any]) -> Iterator[str]:
    """A gateway with one model and its alias, which streams ``answers`` to whoever asks."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.reply(json.dumps({"data": [{"id": "smollm", "aliases": ["small"]}]}), "application/json")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.reply("".join(f"data: {json.dumps(each)}\n\n" for each in answers), "text/event-stream")

        def reply(self, text: str, kind: str) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            """Nothing on the screen."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def piece(text: str, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return {"id": "1", "object": "chat.completion.chunk", "created": 0, "model": "smollm", "choices": [choice]}


def test_an_alias_is_asked_like_its_model_and_a_cut_answer_says_so(tmp_path: Path, ebbtide: Ebbtide) -> None:
    with gateway(piece("Salt"), piece(" rivers", "length")) as url:
        Access(url, "sk-x", ("smollm",)).save(Paths(tmp_path / "cache", tmp_path / "state"))
        code, shown = ebbtide("local", "ask", "Why?", "--model", "small", "--max-tokens", "2")
    assert code == 0
    assert "asking smollm: Why?" in shown
    assert "Salt rivers" in shown
    assert "cut after 2 tokens; --max-tokens" in shown


def test_the_refusal_of_a_look_at_a_deployment_is_no_readiness() -> None:
    refusal = {"kind": "Status", "status": "Failure", "code": 404}
    with httpx.Client(
        transport=httpx.MockTransport(lambda _: httpx.Response(404, json=refusal)), base_url="http://x"
    ) as api:
        assert not asking._ready(api, "small")


def test_an_unknown_model_is_an_error_with_the_names_there_are(tmp_path: Path, ebbtide: Ebbtide) -> None:
    with gateway() as url:
        Access(url, "sk-x", ("smollm",)).save(Paths(tmp_path / "cache", tmp_path / "state"))
        output = ebbtide("local", "ask", "Why?", "--model", "huge")
    assert output == (1, "error: there is no model called huge\n  fix: --model takes: smollm, small\n")


def test_an_answer_that_ends_in_an_error_is_told_without_a_traceback(tmp_path: Path, ebbtide: Ebbtide) -> None:
    with gateway(piece("Salt"), {"error": {"message": "the engine went away", "code": "answer_broken_off"}}) as url:
        Access(url, "sk-x", ("smollm",)).save(Paths(tmp_path / "cache", tmp_path / "state"))
        code, shown = ebbtide("local", "ask", "Why?")
    assert code == 1
    assert "the engine went away" in shown


def test_the_key_is_the_stacks_own_of_now(tmp_path: Path, ebbtide: Ebbtide, monkeypatch: pytest.MonkeyPatch) -> None:
    at = Paths(tmp_path / "cache", tmp_path / "state")
    Access("http://127.0.0.1:4000", "sk-old", ("smollm",)).save(at)
    state = at.pulumi_backend / ".pulumi" / "stacks" / "ebbtide" / "local.json"
    state.parent.mkdir(parents=True)
    state.touch()
    later = (at.state / "access.json").stat().st_mtime_ns + 10**9
    os.utime(state, ns=(later, later))
    outputs: dict[str, Any] = {"api_keys": {"demo": "sk-new"}, "models": ["smollm"]}
    monkeypatch.setattr(served, "outputs", lambda stack: outputs)
    assert ebbtide("local", "key") == (0, "sk-new\n")
    os.utime(state, ns=(later * 2, later * 2))
    outputs.clear()  # destroyed, and not there again
    code, shown = ebbtide("local", "key")
    assert (code, shown.splitlines()[0]) == (1, "error: the local stack is not up: its state has no API key")


BROKEN = {
    "nothing there": {},
    "half-written access": {"access.json": '{"url": "http'},
    "access without a key": {"access.json": '{"url": "http://127.0.0.1:9"}'},
    "a kubeconfig that is none": {"kubeconfig": "]["},
    "a cluster that is gone": {
        "access.json": '{"url": "http://127.0.0.1:9", "key": "sk-x", "models": []}',
        "kubeconfig": "{clusters: [{name: a, cluster: {server: 'https://127.0.0.1:9'}}], contexts: [{name: a, "
        "context: {cluster: a, user: a}}], users: [{name: a, user: {}}], current-context: a}",
        "cluster.json": '{"kind": "kind", "wishes": {"gpu_nodes": []}}',
    },
}
COMMANDS = (
    ("status",), ("ask", "hello"), ("ask", "hello", "--model", "x"), ("key",), ("logs", "x"), ("kubeconfig",),
    ("kubectl", "get", "pods"), ("logs", "x", "--lines", "0"), ("logs", "--lines", "many"), ("ask",),
    ("ask", "hello", "--max-tokens", "0"),
)  # fmt: skip


@pytest.mark.parametrize("broken", BROKEN)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_whatever_is_missing_a_command_says_so_and_shows_no_traceback(
    tmp_path: Path, ebbtide: Ebbtide, broken: str, command: tuple[str, ...]
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    for name, text in BROKEN[broken].items():
        (state / name).write_text(text)
    code, shown = ebbtide("local", *command)  # any other exception is an error of the test
    assert code in (0, 1, 2)
    assert shown.strip()
    assert "Traceback" not in shown


def test_an_interruption_says_that_nothing_is_lost(ebbtide: Ebbtide, monkeypatch: pytest.MonkeyPatch) -> None:
    from lab import status

    def interrupted() -> int:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError("not ended by the signal")

    monkeypatch.setattr(status, "show", interrupted)
    code, shown = ebbtide("local", "status")
    assert code == 130
    assert shown == "interrupted; nothing is lost: the same command goes on from here\n"
