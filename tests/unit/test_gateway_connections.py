"""What clients may do to the gateway's connections, by raw sockets: bounds before a key, odd HTTP, and the way out."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.gateway_venv import gateway_python
from tests.unit import gateway_kit as kit

pytestmark = pytest.mark.slow

KEY = "sk-demo-secret"
KEYS, GROUPS = {"demo": (KEY, "everyone")}, {"everyone": ["*"]}
SECONDS = 2.0  # every deadline of the gateway under test
LATE = 12.0  # a deadline of the test's own, on a busy machine
LIMITS = {
    "maxBodyBytes": 200_000,
    "maxHeldBytes": 300_000,
    "headSeconds": SECONDS,
    "idleSeconds": SECONDS,
    "silentBodySeconds": SECONDS,
    "readerSeconds": SECONDS,
    "keylessConnections": 40,
    "shutdownSeconds": 60,
}
BODY = json.dumps({"model": "small", "messages": kit.HI}).encode()
HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n"
WITH_KEY = HEAD + b"Authorization: Bearer " + KEY.encode() + b"\r\n"
UPGRADES = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
    "websocket": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    "unknown": b"Connection: upgrade\r\nUpgrade: TLS/1.0\r\n",
}


MODELS = [{"name": "small", "host": "small.ebbtide-models", "gpus": 1, "holdSeconds": 30, "mostSequences": 48}]
upstream, kube, gateway = kit.fixtures(MODELS, kit.key_file(KEYS, GROUPS), replicas={"small": 1}, limits=LIMITS)


@pytest.fixture
def own_gateway(upstream: kit.Upstream, kube: kit.KubeApi, tmp_path: Path) -> Iterator[kit.Gateway]:
    """One that a test may end."""
    settings = kit.settings_of(upstream, kube, MODELS, limits=LIMITS)
    with kit.serving(kit.start(gateway_python(), tmp_path, settings, kit.key_file(KEYS, GROUPS))) as process:
        yield process


@pytest.fixture(autouse=True)
def clean(upstream: kit.Upstream) -> None:
    upstream.reset()


@contextlib.contextmanager
def connected(gateway: kit.Gateway) -> Iterator[socket.socket]:
    host, _, port = gateway.url.removeprefix("http://").partition(":")
    with socket.create_connection((host, int(port))) as made:
        made.settimeout(LATE)
        yield made


def answer(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """The next whole answer on it."""
    stream = connection.makefile("rb")
    status = int(stream.readline().split()[1])
    headers = {}
    while line := stream.readline().strip():
        name, _, value = line.decode().partition(":")
        headers[name.strip().lower()] = value.strip()
    return status, headers, stream.read(int(headers.get("content-length", 0)))


def code(found: tuple[int, dict[str, str], bytes]) -> tuple[int, Any]:
    return found[0], json.loads(found[2])["error"]["code"]


def ended(connection: socket.socket) -> bool:
    """Whether the other side ends it, by whatever means, in time."""
    with contextlib.suppress(ConnectionError):
        while connection.recv(65536):
            pass
    return True


def length(body: bytes) -> bytes:
    return b"Content-Length: %d\r\n\r\n" % len(body)


@pytest.mark.parametrize("upgrade", UPGRADES)
@pytest.mark.parametrize("packets", ["one", "two", "bytes"])
def test_a_post_that_offers_an_upgrade_is_served_with_its_body_and_the_body_is_no_second_request(
    gateway: kit.Gateway, upstream: kit.Upstream, upgrade: str, packets: str
) -> None:
    smuggled = b"GET /v1/models HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer " + KEY.encode() + b"\r\n\r\n"
    for body, expected in ((BODY, 200), (smuggled, 400)):
        with connected(gateway) as connection:
            head = WITH_KEY + UPGRADES[upgrade] + length(body)
            if packets == "one":
                connection.sendall(head + body)
            else:
                connection.sendall(head)
                for piece in [body] if packets == "two" else [body[at : at + 1] for at in range(len(body))]:
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    connection.sendall(piece)
            assert answer(connection)[0] == expected
            # a second request on the same connection is answered with its own answer, and none came in between
            connection.sendall(b"HEAD /health/liveness HTTP/1.1\r\nHost: a\r\n\r\n")
            status, headers, _ = answer_without_body(connection)
            assert (status, headers["content-length"]) == (200, "12")
    assert [seen.body["messages"] for seen in upstream.seen] == [kit.HI]


def answer_without_body(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """The answer to a HEAD, after which nothing may come."""
    found = b""
    while b"\r\n\r\n" not in found:
        found += connection.recv(65536)
    head, _, rest = found.partition(b"\r\n\r\n")
    assert rest == b"", "a body after a HEAD"
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.lower().split(": ", 1) for line in lines), rest


@pytest.mark.parametrize(
    ("head", "refusal"),
    [
        (b"X: " + b"a" * 30_000, (431, "headers_too_large")),
        (b"a: b\r\n" * 200, (431, "headers_too_large")),
        ((b"X: " + b"a" * 9_000 + b"\r\n") * 9, (431, "headers_too_large")),
        (b"X" * 30_000 + b": a", (431, "headers_too_large")),
    ],
)
@pytest.mark.parametrize("whole", [True, False])
def test_headers_are_bounded_in_size_and_number_whether_they_end_or_not(
    gateway: kit.Gateway, head: bytes, refusal: tuple[int, str], whole: bool
) -> None:
    with connected(gateway) as connection:
        connection.sendall(HEAD + head + (b"\r\n\r\n" if whole else b""))
        assert code(answer(connection)) == refusal
        assert ended(connection)


def test_a_request_line_is_bounded(gateway: kit.Gateway) -> None:
    with connected(gateway) as connection:
        connection.sendall(b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert code(answer(connection)) == (414, "uri_too_long")
        assert ended(connection)


def test_a_flood_of_headers_without_a_key_costs_neither_memory_nor_time(gateway: kit.Gateway) -> None:
    before = memory(gateway)
    started = time.monotonic()
    for piece in (b"a" * 65_536, b"a: b\r\n" * 10_000):
        with connected(gateway) as connection, contextlib.suppress(OSError):
            connection.sendall(HEAD + b"X: ")
            for _ in range(200):
                connection.sendall(piece)
    assert httpx.get(gateway.url + "/health/liveness", timeout=LATE).status_code == 200
    assert memory(gateway) - before < 32
    assert time.monotonic() - started < LATE


def memory(gateway: kit.Gateway) -> float:
    """MiB that the process has had at most."""
    status = Path(f"/proc/{gateway.process.pid}/status").read_text()
    return next(int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmHWM"))


@pytest.mark.parametrize(
    ("sent", "refusal"),
    [
        (b"", None),
        (b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\n", (408, "request_timeout")),
        (b"P", (408, "request_timeout")),
        (WITH_KEY + b"Content-Length: 100\r\n\r\n{", (408, "request_timeout")),
        (WITH_KEY + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{", (408, "request_timeout")),
        (b"GET /health/liveness HTTP/1.1\r\nHost: a\r\n\r\n", None),
    ],
)
def test_a_connection_that_falls_silent_without_a_whole_request_ends_in_bounded_time(
    gateway: kit.Gateway, sent: bytes, refusal: tuple[int, str] | None
) -> None:
    with connected(gateway) as connection:
        connection.sendall(sent)
        started = time.monotonic()
        if refusal is not None:
            assert code(answer(connection)) == refusal
        assert ended(connection)
        assert time.monotonic() - started < LATE


def test_headers_that_drip_end_too(gateway: kit.Gateway) -> None:
    with connected(gateway) as connection:
        connection.sendall(HEAD)
        connection.settimeout(0.2)
        deadline = time.monotonic() + LATE
        while time.monotonic() < deadline:
            with contextlib.suppress(TimeoutError):
                with contextlib.suppress(BrokenPipeError):  # it has just ended: its answer can still be read
                    connection.sendall(b"a: b\r\n")
                if found := connection.recv(100):
                    break
        assert found.startswith(b"HTTP/1.1 408 ")


def test_a_body_without_a_key_is_not_waited_for(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    with connected(gateway) as connection:
        connection.sendall(HEAD + b"Content-Length: 100000\r\n\r\n{")
        found = answer(connection)
        assert (code(found), found[1]["www-authenticate"]) == ((401, "missing_api_key"), 'Bearer realm="ebbtide"')
        assert ended(connection)
    assert upstream.untouched


def test_of_many_connections_without_a_key_the_oldest_make_room_and_one_with_a_key_stays(
    gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    with connected(gateway) as known, contextlib.ExitStack() as silent:
        known.sendall(WITH_KEY + length(BODY) + BODY)
        assert answer(known)[0] == 200
        others = [silent.enter_context(connected(gateway)) for _ in range(60)]
        assert ended(others[0])
        # within the flood somebody new is answered, and who has shown a key is still there
        assert httpx.get(gateway.url + "/health/liveness", timeout=LATE).status_code == 200
        known.sendall(WITH_KEY + length(BODY) + BODY)
        assert answer(known)[0] == 200


def test_a_connection_that_has_shown_a_key_is_kept_while_it_rests(gateway: kit.Gateway) -> None:
    with connected(gateway) as known, connected(gateway) as unknown:
        known.sendall(WITH_KEY + length(BODY) + BODY)
        assert answer(known)[0] == 200
        assert ended(unknown), "the deadline for those without a key is over"
        known.sendall(WITH_KEY + length(BODY) + BODY)
        assert answer(known)[0] == 200


def test_a_slow_upload_with_a_key_takes_as_long_as_it_takes_while_something_comes(
    gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    body = json.dumps({"model": "small", "messages": [{"role": "user", "content": "x" * 60_000}]}).encode()
    with connected(gateway) as connection:
        connection.sendall(WITH_KEY + length(body))
        started = time.monotonic()
        for at in range(0, len(body), 7_000):
            connection.sendall(body[at : at + 7_000])
            time.sleep(SECONDS / 4)
        assert time.monotonic() - started > SECONDS
        assert answer(connection)[0] == 200
    assert len(upstream.seen) == 1


@pytest.mark.parametrize("stream", [False, True])
def test_a_request_that_is_held_for_longer_than_every_deadline_is_answered(
    gateway: kit.Gateway, upstream: kit.Upstream, stream: bool
) -> None:
    started = time.monotonic()

    def long_enough(_: int = 0) -> bool:
        return time.monotonic() - started > 2.5 * SECONDS

    async def until_up(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        while not long_enough():
            await asyncio.sleep(0.05)
        return await kit.says(200, "")(request, body)

    upstream.knock_script = [until_up]
    body = json.dumps({"model": "small", "messages": kit.HI, "stream": stream}).encode()
    headers = {"authorization": f"Bearer {KEY}"}
    found = httpx.post(gateway.url + "/v1/chat/completions", content=body, headers=headers, timeout=30)
    assert found.status_code == 200
    assert time.monotonic() - started > 2.5 * SECONDS


def test_a_client_that_reads_nothing_of_its_answer_is_let_go(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    async def floods(request: web.Request, _: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await response.prepare(request)
        for _ in range(2_000):
            await response.write(b"data: " + b"x" * 65_536 + b"\n\n")
        return response

    upstream.script = [floods]
    with connected(gateway) as connection:
        connection.sendall(WITH_KEY + length(BODY) + BODY)
        kit.until(lambda: upstream.seen and upstream.seen[0].cut_off, "the engine's answer is cut off", LATE)


def test_the_bodies_of_all_requests_together_are_bounded(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    go_on = threading.Event()

    async def until_up(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        while not go_on.is_set():
            await asyncio.sleep(0.02)
        return await kit.says(200, "")(request, body)

    def ask(size: int) -> httpx.Response:
        body = {"model": "small", "messages": [{"role": "user", "content": "x" * size}]}
        headers = {"authorization": f"Bearer {KEY}"}
        return httpx.post(gateway.url + "/v1/chat/completions", json=body, headers=headers, timeout=30)

    upstream.knock_script = [until_up]
    with ThreadPoolExecutor() as pool:
        held = pool.submit(ask, 190_000)
        kit.until(lambda: upstream.knocks, "held")
        refused = ask(190_000)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "too_many_bodies")
        assert int(refused.headers["retry-after"]) > 0
        assert ask(50_000).status_code == 200
        go_on.set()
        assert held.result(LATE).status_code == 200
    assert ask(190_000).status_code == 200, "what was held is given back"


def test_told_to_go_it_ends_at_once_what_is_no_admitted_request_and_waits_for_what_is(
    own_gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    go_on = threading.Event()
    upstream.script = [kit.streams(3, gate=lambda number: number == 0 or go_on.is_set())]
    unfinished = [b"", b"POST / HTTP/1.1\r\n", WITH_KEY + b"Content-Length: 100\r\n\r\n{", HEAD + b"a: b\r\n"]
    with contextlib.ExitStack() as open_:
        idle = [open_.enter_context(connected(own_gateway)) for _ in unfinished]
        for connection, sent in zip(idle, unfinished, strict=True):
            connection.sendall(sent)
        used = open_.enter_context(connected(own_gateway))
        used.sendall(WITH_KEY + length(b"{}") + b"{}")
        assert answer(used)[0] == 400
        streaming = open_.enter_context(connected(own_gateway))
        body = json.dumps({"model": "small", "messages": kit.HI, "stream": True}).encode()
        streaming.sendall(WITH_KEY + length(body) + body)
        got = streaming.recv(65536)
        assert got.startswith(b"HTTP/1.1 200 OK")
        own_gateway.process.terminate()
        started = time.monotonic()
        assert all(ended(connection) for connection in (*idle, used))
        assert time.monotonic() - started < SECONDS, "before any deadline of theirs"
        assert own_gateway.process.poll() is None
        go_on.set()
        while piece := streaming.recv(65536):
            got += piece
        assert b"[DONE]" in got
        assert got.endswith(b"0\r\n\r\n")
        assert own_gateway.process.wait(LATE) == 0


def test_told_to_go_it_is_gone_at_once_when_only_slow_clients_are_left(own_gateway: kit.Gateway) -> None:
    """The pod's grace period is a quarter of an hour, and ``destroy`` waits for the pod."""
    with connected(own_gateway) as half, connected(own_gateway) as silent, connected(own_gateway) as uploading:
        half.sendall(HEAD)
        uploading.sendall(WITH_KEY + b"Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n{")
        assert uploading.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n", "the body is being read"
        own_gateway.process.terminate()
        assert own_gateway.process.wait(LATE) == 0
        found = answer(uploading)
        assert (code(found), found[1].get("connection")) == ((503, "stopping"), "close"), found
        assert ended(half)
        assert ended(silent)


@contextlib.contextmanager
def told_to_go(
    upstream: kit.Upstream, kube: kit.KubeApi, folder: Path, leave_seconds: float
) -> Iterator[tuple[kit.Gateway, socket.socket]]:
    """A gateway that was just told to go, and a connection that a balancer kept open to it."""
    settings = kit.settings_of(upstream, kube, MODELS, limits=LIMITS | {"leaveSeconds": leave_seconds})
    made = kit.start(gateway_python(), folder, settings, kit.key_file(KEYS, GROUPS))
    with kit.serving(made) as up, connected(up) as kept:
        kept.sendall(WITH_KEY + length(BODY) + BODY)
        status, headers, _ = answer(kept)
        assert (status, headers.get("connection")) == (200, None)
        up.process.terminate()
        kit.until(lambda: httpx.get(up.url + "/health/readiness").status_code == 503, "balancers are told", LATE)
        yield up, kept


def test_while_its_balancer_may_not_know_yet_a_gateway_that_goes_answers_and_keeps_no_connection(
    upstream: kit.Upstream, kube: kit.KubeApi, tmp_path: Path
) -> None:
    with told_to_go(upstream, kube, tmp_path, leave_seconds=600) as (gateway, kept), connected(gateway) as new:
        assert httpx.get(gateway.url + "/health/liveness").status_code == 200
        for connection in (kept, new):
            connection.sendall(WITH_KEY + length(BODY) + BODY)
            status, headers, _ = answer(connection)
            assert (status, headers["connection"]) == (200, "close")
            assert ended(connection)
        assert gateway.process.poll() is None
        gateway.process.terminate()
        assert gateway.process.wait(LATE) == 0, "a second signal ends the wait for balancers"


def test_a_request_that_comes_while_the_gateway_goes_is_held_and_answered(
    upstream: kit.Upstream, kube: kit.KubeApi, tmp_path: Path
) -> None:
    go_on = threading.Event()
    with told_to_go(upstream, kube, tmp_path, leave_seconds=600) as (gateway, kept), connected(gateway) as new:
        upstream.script = [kit.streams(3, gate=lambda number: number == 0 or go_on.is_set())]
        body = json.dumps({"model": "small", "messages": kit.HI, "stream": True}).encode()
        new.sendall(WITH_KEY + length(body) + body)
        got = new.recv(65536)
        assert got.startswith(b"HTTP/1.1 200 OK")
        gateway.process.terminate()  # the time for balancers is over
        assert ended(kept), "a connection without a request"
        assert gateway.process.poll() is None
        go_on.set()
        while piece := new.recv(65536):
            got += piece
        assert b"[DONE]" in got
        assert gateway.process.wait(LATE) == 0


def test_a_gateway_that_goes_leaves_when_its_balancers_had_their_time(
    upstream: kit.Upstream, kube: kit.KubeApi, tmp_path: Path
) -> None:
    with told_to_go(upstream, kube, tmp_path, leave_seconds=SECONDS) as (gateway, kept):
        assert ended(kept)
        assert gateway.process.wait(LATE) == 0


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/small", "/health/liveness", "/health/readiness"])
def test_head_is_get_without_its_body(gateway: kit.Gateway, path: str) -> None:
    headers = {"authorization": f"Bearer {KEY}"}
    got, head = (httpx.request(method, gateway.url + path, headers=headers) for method in ("GET", "HEAD"))
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.content))


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/v1/chat/completions", "POST, OPTIONS"),
        ("HEAD", "/v1/embeddings", "POST, OPTIONS"),
        ("POST", "/v1/models", "GET, HEAD, OPTIONS"),
        ("DELETE", "/v1/models/small", "GET, HEAD, OPTIONS"),
        ("POST", "/v1/responses/resp_1", "GET, HEAD, OPTIONS"),
        ("GET", "/v1/responses/resp_1/cancel", "POST, OPTIONS"),
    ],
)
def test_a_method_that_is_not_taken_is_told_which_are(
    gateway: kit.Gateway, method: str, path: str, allowed: str
) -> None:
    refused = httpx.request(method, gateway.url + path)
    assert (refused.status_code, refused.headers["allow"]) == (405, allowed)


def test_a_key_that_is_missing_or_unknown_is_asked_for(gateway: kit.Gateway) -> None:
    missing = httpx.get(gateway.url + "/v1/models")
    unknown = httpx.get(gateway.url + "/v1/models", headers={"authorization": "Bearer sk-nobody"})
    assert (missing.status_code, missing.headers["www-authenticate"]) == (401, 'Bearer realm="ebbtide"')
    assert unknown.headers["www-authenticate"] == 'Bearer realm="ebbtide", error="invalid_token"'


def test_every_answer_has_a_request_id_the_clients_own_where_it_can_be_one(
    gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    def ask(given: str | None, path: str = "/v1/models") -> str:
        headers = {"authorization": f"Bearer {KEY}"} | ({"x-request-id": given} if given is not None else {})
        return str(httpx.get(gateway.url + path, headers=headers).headers["x-request-id"])

    assert ask("req-1.a:b/c") == "req-1.a:b/c"
    for bad in ("", "a b", "x" * 129, '"}', "a\tb"):
        assert ask(bad) != bad
    assert len({ask(None), ask(None), ask(None, "/nowhere"), ask(None, "/health/liveness")}) == 4
    upstream.script = [kit.streams(2), kit.engine_error(400, "BadRequestError", "no")]
    for stream in (True, False):
        body = {"model": "small", "messages": kit.HI, "stream": stream}
        headers = {"authorization": f"Bearer {KEY}", "x-request-id": f"stream-{stream}"}
        found = httpx.post(gateway.url + "/v1/chat/completions", json=body, headers=headers)
        assert found.headers["x-request-id"] == f"stream-{stream}"
    wanted = {"req-1.a:b/c", "stream-True", "stream-False"}
    kit.until(lambda: wanted <= {record["request_id"] for record in gateway.records()}, "the log has all three")


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
        b"hello\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        WITH_KEY + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        WITH_KEY + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        WITH_KEY + b"Content-Length: -1\r\n\r\n",
        WITH_KEY + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        WITH_KEY + b"X : a\r\n\r\n",
        WITH_KEY + b"X: a\x00b\r\n\r\n",
    ],
)
def test_what_is_no_http_is_answered_in_openais_shape_and_repeats_nothing(
    gateway: kit.Gateway, upstream: kit.Upstream, sent: bytes
) -> None:
    with connected(gateway) as connection:
        connection.sendall(sent)
        found = answer(connection)
        assert code(found) == (400, "malformed_request")
        assert found[1]["content-type"] == "application/json"
        assert len(found[1]["x-request-id"]) == 32
        assert ended(connection)
    assert KEY.encode() not in found[2]
    assert upstream.untouched
    assert KEY not in gateway.log()


def test_a_stream_to_http_1_0_is_not_chunked_and_ends_with_the_connection(gateway: kit.Gateway) -> None:
    body = json.dumps({"model": "small", "messages": kit.HI, "stream": True}).encode()
    with connected(gateway) as connection:
        connection.sendall(WITH_KEY.replace(b"HTTP/1.1", b"HTTP/1.0") + length(body) + body)
        found = b""
        while piece := connection.recv(65536):
            found += piece
    head, _, events = found.partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert events.startswith(b"data: {")
    assert events.endswith(b"data: [DONE]\n\n")


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip"])
def test_a_compressed_body_is_refused_by_name(gateway: kit.Gateway, upstream: kit.Upstream, coding: str) -> None:
    headers = {"authorization": f"Bearer {KEY}", "content-encoding": coding}
    refused = httpx.post(gateway.url + "/v1/chat/completions", content=b"\x1f\x8b\x08", headers=headers)
    assert (refused.status_code, refused.json()["error"]["code"]) == (415, "unsupported_encoding")
    assert refused.headers["accept-encoding"] == "identity"
    assert upstream.untouched


def test_a_client_that_asks_whether_it_may_send_its_body_is_told_so_only_with_a_key(gateway: kit.Gateway) -> None:
    with connected(gateway) as connection:
        connection.sendall(WITH_KEY + b"Expect: 100-continue\r\n" + length(BODY))
        assert connection.recv(100) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(BODY)
        assert answer(connection)[0] == 200
    with connected(gateway) as connection:
        connection.sendall(HEAD + b"Expect: 100-continue\r\n" + length(BODY))
        assert answer(connection)[0] == 401


def test_requests_that_are_sent_in_one_go_are_answered_in_their_order(
    gateway: kit.Gateway, upstream: kit.Upstream
) -> None:
    with connected(gateway) as connection:
        connection.sendall((WITH_KEY + length(BODY) + BODY) * 3)
        stream = connection.makefile("rb")
        for _ in range(3):
            assert stream.readline().startswith(b"HTTP/1.1 200")
            size = 0
            while line := stream.readline().strip():
                size = int(line.split()[1]) if line.lower().startswith(b"content-length") else size
            stream.read(size)
    assert len(upstream.seen) == 3
