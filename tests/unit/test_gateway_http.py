"""Odd HTTP at the gateway, by raw sockets: HEAD, upgrades, HTTP/1.0, pipelines, and what is no HTTP."""

from __future__ import annotations

import json
import socket

import httpx
import pytest

from tests.unit import gateway_connections_kit
from tests.unit import gateway_kit as kit
from tests.unit.gateway_connections_kit import BODY, HEAD, KEY, WITH_KEY, answer, code, connected, ended, length

pytestmark = pytest.mark.slow

upstream, kube, gateway, clean = gateway_connections_kit.fixtures()


UPGRADES = {
    "h2c": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n",
    "websocket": b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    "unknown": b"Connection: upgrade\r\nUpgrade: TLS/1.0\r\n",
}


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
    assert [each.body["messages"] for each in upstream.received] == [kit.HI]


def answer_without_body(connection: socket.socket) -> tuple[int, dict[str, str], bytes]:
    """The answer to a HEAD, after which nothing may come."""
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, rest = received.partition(b"\r\n\r\n")
    assert rest == b"", "a body after a HEAD"
    status, *lines = head.decode().split("\r\n")
    return int(status.split()[1]), dict(line.lower().split(": ", 1) for line in lines), rest


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
    def ask(sent_id: str | None, path: str = "/v1/models") -> str:
        headers = {"authorization": f"Bearer {KEY}"} | ({"x-request-id": sent_id} if sent_id is not None else {})
        return str(httpx.get(gateway.url + path, headers=headers).headers["x-request-id"])

    assert ask("req-1.a:b/c") == "req-1.a:b/c"
    for bad in ("", "a b", "x" * 129, '"}', "a\tb"):
        assert ask(bad) != bad
    assert len({ask(None), ask(None), ask(None, "/nowhere"), ask(None, "/health/liveness")}) == 4
    upstream.script = [kit.streams(2), kit.engine_error(400, "BadRequestError", "no")]
    for stream in (True, False):
        body = {"model": "small", "messages": kit.HI, "stream": stream}
        headers = {"authorization": f"Bearer {KEY}", "x-request-id": f"stream-{stream}"}
        response = httpx.post(gateway.url + "/v1/chat/completions", json=body, headers=headers)
        assert response.headers["x-request-id"] == f"stream-{stream}"
    ids = {"req-1.a:b/c", "stream-True", "stream-False"}
    kit.until(lambda: ids <= {record["request_id"] for record in gateway.records()}, "the log has all three")


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
        response = answer(connection)
        assert code(response) == (400, "malformed_request")
        assert response[1]["content-type"] == "application/json"
        assert len(response[1]["x-request-id"]) == 32
        assert ended(connection)
    assert KEY.encode() not in response[2]
    assert upstream.untouched
    assert KEY not in gateway.log()


def test_a_stream_to_http_1_0_is_not_chunked_and_ends_with_the_connection(gateway: kit.Gateway) -> None:
    body = json.dumps({"model": "small", "messages": kit.HI, "stream": True}).encode()
    with connected(gateway) as connection:
        connection.sendall(WITH_KEY.replace(b"HTTP/1.1", b"HTTP/1.0") + length(body) + body)
        received = b""
        while piece := connection.recv(65536):
            received += piece
    head, _, events = received.partition(b"\r\n\r\n")
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
    assert len(upstream.received) == 3
