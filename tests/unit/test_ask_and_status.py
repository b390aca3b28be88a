"""``ebbtide ask`` and ``ebbtide status`` before a gateway of any stack; the gateway and pulumi here are stand-ins."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from infra.commands import ask, status
from infra.commands.options import AskOptions, StatusOptions
from infra.errors import LocalProblem
from infra.served import access

KEY = "sk-very-secret"
WAKING = {
    "state": "waking",
    "phase": "engine",
    "seconds": 42,
    "estimate_seconds": 95,
    "reason": None,
    "usd_per_hour": 1.006,
    "last_wakes_seconds": [93, 101],
}
STATES = {
    "a": WAKING,
    "b": {**WAKING, "state": "asleep", "phase": None, "seconds": None, "usd_per_hour": None},
    "c": {**WAKING, "state": "asleep", "estimate_seconds": None, "last_wakes_seconds": []},
    "d": {**WAKING, "state": "awake"},
}
STREAM = (
    ": ebbtide phase=node seconds=10 estimate=95\n\n"
    ": ebbtide phase=node seconds=20 estimate=95\n\n"
    ": ebbtide phase=engine seconds=30 estimate=unknown\n\n"
    'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}\n\n'
    'data: {"choices": [{"delta": {"content": "Salt"}}]}\n\n'
    'data: {"choices": [{"delta": {"content": " rivers"}, "finish_reason": "length"}]}\n\n'
    "data: [DONE]\n\n"
)
Gateway = Callable[..., str]


@pytest.fixture
def gateway() -> Iterator[Gateway]:
    """Make a gateway that lists these states and streams this; its address."""
    servers: list[ThreadingHTTPServer] = []

    def make(states: dict[str, Any] | None = None, stream: str = STREAM, refuses: int | None = None) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                listed = [{"id": name, "ebbtide": state} for name, state in (states or STATES).items()]
                self.reply(json.dumps({"data": listed}))

            def do_POST(self) -> None:
                self.asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                error = {"error": {"message": "no GPUs", "code": "wake_failed", "param": "quota"}}
                self.reply(stream if refuses is None else json.dumps(error), refuses or 200)

            def reply(self, text: str, status: int = 200) -> None:
                known = self.headers["authorization"] == f"Bearer {KEY}"
                self.send_response(status if known else 401)
                self.send_header("x-ebbtide-woken", "true")
                self.send_header("Content-Length", str(len(text)))
                self.end_headers()
                self.wfile.write(text.encode())

            def log_message(self, *_: Any) -> None:
                """Nothing on the screen."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield make
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THE_KEY", KEY)


def pulumi(monkeypatch: pytest.MonkeyPatch, outputs: dict[str, Any] | None) -> list[list[str]]:
    """A stand-in for pulumi whose stack has these outputs, or that finds no stack; what was asked of it."""
    asked: list[list[str]] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        asked.append(command)
        output = "" if outputs is None else json.dumps(outputs)
        return subprocess.CompletedProcess(command, 255 if outputs is None else 0, output, "error: no stack named 'x'")

    monkeypatch.setattr(subprocess, "run", run)
    return asked


def test_status_tells_each_models_state_in_words(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    url = gateway()
    assert status.run(StatusOptions(url=f"{url}/v1/", key_env="THE_KEY")) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"gateway   {url}",
        "model     a: waking: engine, 42 of about 95 s; the last took 93, 101 s; 1.01 US dollars an hour while awake",
        "model     b: asleep; a wake takes about 95 s; the last took 93, 101 s; an hour's price is unknown",
        "model     c: asleep; nobody knows yet how long a wake takes; 1.01 US dollars an hour while awake",
        "model     d: awake; the last took 93, 101 s; 1.01 US dollars an hour while awake",
    ]


def test_status_of_a_model_that_cannot_be_woken_is_one(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    failing = {**WAKING, "state": "failing", "reason": "quota", "last_wakes_seconds": []}
    assert status.run(StatusOptions(url=gateway({"a": failing}), key_env="THE_KEY")) == 1
    assert "model     a: failing: quota; 1.01 US dollars" in capsys.readouterr().out


def test_status_as_json_has_all_of_it(gateway: Gateway, capsys: pytest.CaptureFixture[str]) -> None:
    url = gateway()
    assert status.run(StatusOptions(url=url, key_env="THE_KEY", format="json")) == 0
    assert json.loads(capsys.readouterr().out) == {"endpoint": url, "models": STATES}


def test_ask_shows_each_phase_and_then_the_answer(
    gateway: Gateway, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = {"endpoint": gateway(), "api_keys": {"demo": "sk-other", "ops": KEY}, "models": ["a"]}
    asked = pulumi(monkeypatch, outputs)
    assert ask.run(AskOptions(stack="aws-dev", key="ops", prompt="Why?", max_tokens=2)) == 0
    assert asked[0][1:5] == ["stack", "output", "--json", "--show-secrets"]
    assert asked[0][asked[0].index("--stack") + 1] == "aws-dev"
    shown = capsys.readouterr().out
    assert [line.strip() for line in shown.splitlines() if "seconds" not in line and "✓" not in line][:4] == [
        "• asking a",
        "node, 10 of about 95 s",
        "engine, 30 s",
        "Salt rivers",
    ]
    assert "cut after 2 tokens" in shown
    assert "this request woke the model" in shown
    assert "sk-" not in shown


def test_a_refusal_before_and_after_comments_is_told_with_its_reason(gateway: Gateway) -> None:
    with pytest.raises(LocalProblem, match="the gateway answered 503: no GPUs wake_failed quota"):
        ask.run(AskOptions(url=gateway(refuses=503), key_env="THE_KEY", model="a", prompt="Why?"))
    late = ': ebbtide phase=node seconds=10 estimate=95\n\ndata: {"error": {"message": "no GPUs", "code": "x"}}\n\n'
    with pytest.raises(LocalProblem, match="no GPUs x"):
        ask.run(AskOptions(url=gateway(stream=late), key_env="THE_KEY", model="a", prompt="Why?"))


def test_a_model_has_to_be_named_where_there_are_several(gateway: Gateway) -> None:
    with pytest.raises(LocalProblem, match="--model takes: a, b, c, d"):
        ask.run(AskOptions(url=gateway(), key_env="THE_KEY", prompt="Why?"))


@pytest.mark.parametrize(
    ("options", "outputs", "message"),
    [
        ({}, {}, "give either --stack NAME, or --url and --key-env"),
        ({"stack": "x", "url": "http://h"}, {}, "give either --stack NAME, or --url and --key-env"),
        ({"url": "http://h"}, {}, "--key-env VARIABLE"),
        ({"url": "http://h", "key_env": "NOT_SET"}, {}, "the environment has no NOT_SET"),
        ({"stack": "x"}, None, "pulumi stack output: error: no stack named 'x'"),
        ({"stack": "x"}, {}, "stack x is not up"),
        ({"stack": "x", "key": "ops"}, {"endpoint": "http://h", "api_keys": {"demo": KEY}}, "keys that it made: demo"),
        ({"stack": "x"}, {"endpoint": "http://h"}, "each has a sha256"),
    ],
)
def test_what_is_missing_is_told_with_a_way_out(
    options: dict[str, Any], outputs: dict[str, Any] | None, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pulumi(monkeypatch, outputs)
    with pytest.raises(LocalProblem) as problem:
        status.run(StatusOptions(**options))
    assert message in str(problem.value)
    assert KEY not in str(problem.value)


def test_a_gateway_that_is_not_reached_is_told_without_the_key() -> None:
    with pytest.raises(LocalProblem, match=r"no connection to http://127\.0\.0\.1:9") as problem:
        status.run(StatusOptions(url="http://127.0.0.1:9", key_env="THE_KEY"))
    assert KEY not in str(problem.value)
    assert KEY not in repr(access.Access("http://h", KEY))
