"""The liveness probe as the kubelet runs it: the real script in a process of its own, before a small engine."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from components.vllm_image.build import CONTEXT

SCRIPT = CONTEXT / "canary.py"
ANSWER_SECONDS = 30.0  # nothing that answers is late, however busy the machine
NEVER_SECONDS = 0.5  # for what answers never


@dataclass
class Engine:
    """What the probe can see of vLLM 0.32. ``wedged``: the front end answers, the engine behind it does not, and the
    connection ends without a word; ``silent``: it stays open without one."""

    running: int = 0
    waiting: int = 0
    tokens: int = 100
    health: int = 200
    wedged: bool = False
    silent: bool = False
    over: threading.Event = field(default_factory=threading.Event)
    full: bool = False
    awake: int = 1
    metrics: bool = True
    chunked: bool = False
    routes: tuple[str, ...] = ("/v1/completions",)
    asked: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    on_ask: object = None
    port: int = 0

    def told(self) -> str:
        if not self.metrics:
            return "python_info 1.0\n"
        label = 'engine="0",model_name="m"'
        return (
            f"# TYPE vllm:num_requests_running gauge\nvllm:num_requests_running{{{label}}} {self.running}.0\n"
            f"vllm:num_requests_waiting{{{label}}} {self.waiting}.0\n"
            f'vllm:num_requests_waiting_by_reason{{{label},reason="capacity"}} 7.0\n'
            f'vllm:engine_sleep_state{{{label},sleep_state="awake"}} {self.awake}.0\n'
            f'vllm:engine_sleep_state{{{label},sleep_state="discard_all"}} 0.0\n'
            f"vllm:prompt_tokens_total{{{label}}} 5.0\nvllm:prompt_tokens_created{{{label}}} 1.7e+09\n"
            f"vllm:generation_tokens_total{{{label}}} {self.tokens}.0\n"
        )


class Handler(BaseHTTPRequestHandler):
    engine: Engine

    def do_GET(self) -> None:
        if self.path == "/health":
            self.say(self.engine.health)
        else:
            self.say(200, self.engine.told().encode())

    def do_POST(self) -> None:
        self.engine.asked.append(self.path)
        self.engine.bodies.append(self.rfile.read(int(self.headers["content-length"])))
        if callable(self.engine.on_ask):
            self.engine.on_ask()
        if self.path not in self.engine.routes:
            self.say(404, b'{"detail":"Not Found"}')
        elif self.engine.full:
            self.say(503)
        elif self.engine.silent:
            self.engine.over.wait()
        elif self.engine.wedged:
            self.close_connection = True
        else:
            self.engine.tokens += 1
            self.say(200, b"{}")

    def say(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        if self.engine.chunked:
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for at in range(0, len(body), 37):
                part = body[at : at + 37]
                self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine_made = Engine()
    handler = type("Mine", (Handler,), {"engine": engine_made, "protocol_version": "HTTP/1.1"})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    engine_made.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield engine_made
    engine_made.over.set()
    server.shutdown()
    server.server_close()


@dataclass
class Probe:
    """The command as ``components/model_service`` writes it; by default silence fails at once."""

    folder: Path

    def __call__(self, port: int, patience: float = 0, seconds: float = ANSWER_SECONDS) -> str | None:
        """None is alive; else what the probe complains of."""
        command = [sys.executable, "-I", "-S", str(SCRIPT), str(port), "m", str(patience), str(seconds)]
        done = subprocess.run(command, env={"TMPDIR": str(self.folder)}, capture_output=True, text=True, timeout=60)
        assert done.returncode in (0, 1), done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return done.stderr.strip() if done.returncode else None

    def let_pass(self, seconds: float) -> None:
        """As if the silence that was noted had begun so much earlier."""
        kept = self.folder / "ebbtide-canary"
        engine, tokens, silent = kept.read_text().split()
        kept.write_text(f"{engine} {tokens} {float(silent) - seconds!r}")


@pytest.fixture
def probe(tmp_path: Path) -> Probe:
    return Probe(tmp_path)


def test_an_idle_engine_that_answers_one_token_is_alive(engine: Engine, probe: Probe) -> None:
    assert probe(engine.port) is None
    assert engine.asked == ["/v1/completions"]
    assert b'"model": "m"' in engine.bodies[0]
    assert b'"max_tokens": 1,' in engine.bodies[0]


def test_a_busy_engine_whose_tokens_move_is_alive_and_is_asked_for_nothing(engine: Engine, probe: Probe) -> None:
    engine.running = 3
    assert probe(engine.port) is None
    engine.tokens += 1
    assert probe(engine.port) is None
    assert engine.asked == []


def test_an_idle_engine_that_answers_health_alone_fails(engine: Engine, probe: Probe) -> None:
    engine.wedged = True
    complaint = probe(engine.port)
    assert complaint is not None
    assert complaint.startswith("no sign of life for 0 s: one token refused or late")


def test_an_idle_engine_that_never_answers_fails(engine: Engine, probe: Probe) -> None:
    engine.silent = True
    assert probe(engine.port, seconds=NEVER_SECONDS) is not None


def test_a_busy_engine_whose_tokens_stand_still_fails(engine: Engine, probe: Probe) -> None:
    engine.running, engine.wedged = 3, True
    assert probe(engine.port) is None  # nothing is known of before
    assert "3 requests, 105 tokens" in (probe(engine.port) or "")
    assert engine.asked == []


def test_silence_is_borne_for_the_patience_and_no_longer(engine: Engine, probe: Probe) -> None:
    engine.running, engine.wedged = 1, True
    for _ in range(2):
        assert probe(engine.port, patience=7200) is None
    probe.let_pass(3600)
    assert probe(engine.port, patience=7200) is None
    probe.let_pass(3600)
    assert probe(engine.port, patience=7200) is not None


def test_one_sign_of_life_ends_the_silence(engine: Engine, probe: Probe) -> None:
    engine.running = 1
    probe(engine.port, patience=7200)
    probe(engine.port, patience=7200)
    probe.let_pass(7200)
    engine.tokens += 1
    assert probe(engine.port, patience=7200) is None
    assert probe(engine.port, patience=7200) is None


def test_requests_that_wait_and_none_that_runs_is_busy_too(engine: Engine, probe: Probe) -> None:
    engine.waiting = 2
    probe(engine.port)
    assert "2 requests" in (probe(engine.port) or "")


def test_a_full_queue_is_busy_and_not_dead_as_long_as_tokens_move(engine: Engine, probe: Probe) -> None:
    engine.full = True

    def works() -> None:
        engine.tokens += 1

    engine.on_ask = works
    assert probe(engine.port) is None


def test_a_full_queue_is_no_sign_of_life_by_itself(engine: Engine, probe: Probe) -> None:
    engine.full = True
    assert probe(engine.port, patience=60) is None
    assert "one token refused" in (probe(engine.port) or "")


def test_an_engine_that_became_busy_while_it_was_asked_is_alive(engine: Engine, probe: Probe) -> None:
    engine.wedged = True

    def others() -> None:
        engine.tokens += 20

    engine.on_ask = others
    assert probe(engine.port) is None


def test_an_engine_that_starts_is_left_to_the_startup_probe(probe: Probe) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "GET /health" in (probe(port, patience=600) or "")


def test_a_front_end_that_accepts_and_never_answers_fails_in_time(probe: Probe) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        assert "GET /health" in (probe(silent.getsockname()[1], 600, NEVER_SECONDS) or "")
        assert time.monotonic() - begun < 10


def test_an_engine_that_says_it_is_dead_fails_at_once(engine: Engine, probe: Probe) -> None:
    engine.health = 503
    assert probe(engine.port, patience=600) == "GET /health: 503"


def test_a_model_that_embeds_is_asked_for_an_embedding(engine: Engine, probe: Probe) -> None:
    engine.routes = ("/v1/embeddings",)
    assert probe(engine.port) is None
    assert engine.asked == ["/v1/completions", "/v1/embeddings"]
    engine.wedged = True
    assert "one token refused or late" in (probe(engine.port) or "")


def test_a_model_that_does_neither_is_judged_by_health_alone(engine: Engine, probe: Probe) -> None:
    engine.routes = ()
    assert probe(engine.port) is None
    assert len(engine.asked) == 2


def test_an_engine_put_to_sleep_is_not_woken_by_the_probe(engine: Engine, probe: Probe) -> None:
    engine.awake, engine.wedged = 0, True
    assert probe(engine.port) is None
    assert engine.asked == []


def test_an_engine_without_counters_is_judged_by_health_alone(engine: Engine, probe: Probe) -> None:
    engine.metrics, engine.wedged = False, True
    assert probe(engine.port) is None


def test_counters_may_come_in_chunks_that_cut_lines(engine: Engine, probe: Probe) -> None:
    engine.chunked, engine.running = True, 2
    probe(engine.port)
    assert "2 requests, 105 tokens" in (probe(engine.port) or "")


def test_what_an_earlier_engine_left_behind_says_nothing_of_this_one(engine: Engine, probe: Probe) -> None:
    engine.running = 1
    (probe.folder / "ebbtide-canary").write_text("another 105.0 0.0")
    assert probe(engine.port) is None


def test_a_file_cut_short_is_no_reason_to_restart_an_engine(engine: Engine, probe: Probe) -> None:
    engine.running = 1
    (probe.folder / "ebbtide-canary").write_text("x")
    assert probe(engine.port) is None


def test_the_probe_imports_little_enough_to_start_beside_a_busy_engine() -> None:
    program = "import sys; sys.argv=['x']; exec(open(%r).read().split('if __name__')[0]); print(len(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-S", "-c", program % str(SCRIPT)], capture_output=True, text=True)
    assert int(done.stdout) < 60, "each module costs a busy machine milliseconds"
