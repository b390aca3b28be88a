"""The doors into the machine's network, run for real between two network namespaces (needs root)."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.machine import forwarder

SERVER = """
import fcntl, socket, socketserver, struct
UP, SET_FLAGS = 0x1, 0x8914  # of the loopback device, which starts down and needs no program to come up
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
    fcntl.ioctl(any_socket, SET_FLAGS, struct.pack("16sh", b"lo", UP))

class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        order = self.rfile.readline().strip()
        if order == b"count":  # answers only when the client has sent all it has
            self.wfile.write(b"%d bytes" % len(self.rfile.read()))
        if order == b"hold":  # says nothing for ever, as a gateway does while a model wakes
            self.wfile.write(b"held")
            print("gone\\n" if self.rfile.read() == b"" else "sent more\\n", end="", flush=True)
        if order == b"stream":
            try:
                while True:
                    self.wfile.write(b"x" * 65536)
            except OSError:
                print("broken", flush=True)
        if order == b"pour":
            self.wfile.write(bytes(range(256)) * 20000)

class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 128

with Server(("127.0.0.1", 9000), Handler) as server:
    print("listening", flush=True)
    server.serve_forever()
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Doors:
    """A server in a network namespace of its own and the forwarder into it."""

    def __init__(self) -> None:
        assert os.geteuid() == 0, "these tests need root: they make a network namespace"
        self.port, self.closed = free_port(), free_port()
        self.server = subprocess.Popen(
            ["unshare", "--net", sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True
        )
        assert self.server.stdout is not None
        assert self.server.stdout.readline() == "listening\n"
        doors = [f"{self.port}=127.0.0.1:9000", f"{self.closed}=127.0.0.1:9001"]
        self.forwarder = subprocess.Popen(
            [sys.executable, "-I", forwarder.__file__, "test", str(self.server.pid), *doors],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.forwarder.stdout is not None
        assert self.forwarder.stdout.readline() == "ready\n"

    def dial(self, order: bytes, port: int | None = None) -> socket.socket:
        connection = socket.create_connection(("127.0.0.1", port or self.port), timeout=15)
        connection.sendall(order + b"\n")
        return connection

    def server_says(self) -> str:
        assert self.server.stdout is not None
        return self.server.stdout.readline().strip()

    def close(self) -> None:
        for process in (self.forwarder, self.server):
            process.kill()
            process.communicate()


@pytest.fixture(scope="module")
def doors() -> Iterator[Doors]:
    doors_open = Doors()
    yield doors_open
    doors_open.close()


def everything(connection: socket.socket) -> bytes:
    parts = []
    while part := connection.recv(1 << 16):
        parts.append(part)
    return b"".join(parts)


@pytest.mark.timeout(30)
def test_a_client_that_has_sent_its_whole_request_still_gets_the_answer(doors: Doors) -> None:
    with doors.dial(b"count") as client:
        client.sendall(b"y" * 3_000_000)
        client.shutdown(socket.SHUT_WR)
        assert everything(client) == b"3000000 bytes"


@pytest.mark.timeout(30)
def test_bytes_arrive_whole_and_in_order_and_the_end_is_passed_on(doors: Doors) -> None:
    with doors.dial(b"pour") as client:
        assert everything(client) == bytes(range(256)) * 20000


@pytest.mark.timeout(30)
def test_a_client_that_leaves_while_it_waits_is_noticed_by_the_server(doors: Doors) -> None:
    client = doors.dial(b"hold")
    assert client.recv(4) == b"held"
    client.close()
    assert doors.server_says() == "gone"


@pytest.mark.timeout(30)
def test_a_client_that_leaves_a_stream_is_noticed_by_the_server(doors: Doors) -> None:
    client = doors.dial(b"stream")
    assert len(client.recv(1000)) > 0
    client.close()
    assert doors.server_says() == "broken"


@pytest.mark.timeout(30)
def test_where_nobody_listens_the_connection_closes_at_once(doors: Doors) -> None:
    began = time.monotonic()
    with socket.create_connection(("127.0.0.1", doors.closed), timeout=15) as client:
        assert everything(client) == b""
    assert time.monotonic() - began < 2


@pytest.mark.timeout(30)
def test_many_connections_at_once_do_not_wait_for_each_other(doors: Doors) -> None:
    waiting = [doors.dial(b"hold") for _ in range(50)]
    assert all(client.recv(4) == b"held" for client in waiting)
    with doors.dial(b"count") as client:
        client.shutdown(socket.SHUT_WR)
        assert everything(client) == b"0 bytes"
    for client in waiting:
        client.close()
    assert [doors.server_says() for _ in waiting] == ["gone"] * 50


def test_small_writes_are_passed_on_at_once_in_both_directions(monkeypatch: pytest.MonkeyPatch) -> None:
    passed_on: list[int] = []
    copy = forwarder.copy

    async def recorded(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        at = writer.get_extra_info("socket")
        passed_on.append(at.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        await copy(reader, writer)

    async def one_answer() -> bytes:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(await reader.readline())
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        door = forwarder.listen(0)
        serving = asyncio.create_task(forwarder.serve(door, *server.sockets[0].getsockname()))
        reader, writer = await asyncio.open_connection(*door.getsockname())
        writer.write(b"hello\n")
        got = await reader.read()
        writer.close()
        serving.cancel()
        server.close()
        return got

    monkeypatch.setattr(forwarder, "copy", recorded)
    assert asyncio.run(one_answer()) == b"hello\n"
    assert len(passed_on) == 2
    assert all(passed_on)


def test_doors_are_on_loopback_only(doors: Doors) -> None:
    listening = Path("/proc/net/tcp").read_text().splitlines()[1:]
    mine = {line.split()[1] for line in listening if int(line.split()[1].partition(":")[2], 16) == doors.port
            and line.split()[3] == "0A"}  # fmt: skip
    assert mine == {f"0100007F:{doors.port:04X}"}


def test_the_servers_port_is_not_open_on_the_host_itself(doors: Doors) -> None:
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", 9000)) != 0


def test_a_machine_that_is_not_there_is_an_error_and_opens_no_door() -> None:
    process = subprocess.run(
        [sys.executable, "-I", forwarder.__file__, "999999999", f"{free_port()}=127.0.0.1:9000"],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert process.returncode != 0
    assert "ready" not in process.stdout
