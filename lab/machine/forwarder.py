"""Forwarder of three ports ("doors") on the host's loopback into the machine's network: API server, registry, gateway.

The listening sockets are made in the host's network; then the process moves into the machine's and dials from there, so
no device, route or firewall rule joins the two. Standard library only.
``python forwarder.py STATE_FOLDER MACHINE_PID LOCAL_PORT=HOST:PORT …``; the folder only shows whose process it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import socket
import sys

CLONE_NEWNET = 0x40000000
CHUNK = 256 * 1024


async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError, OSError):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
    # half-close: a client that has sent its whole request still waits for the answer
    with contextlib.suppress(ConnectionError, OSError, RuntimeError):
        writer.write_eof()


def send_at_once(writer: asyncio.StreamWriter) -> None:
    """Turn Nagle's algorithm off: with it the second small write of an answer waits 40 ms for the other side's delayed
    ACK. asyncio does so by itself only for sockets made with the protocol number of TCP, which accepted ones lack."""
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int) -> None:
    """Copy between an accepted connection and a new one to ``host``, until both are done. Raises ``OSError`` where that
    does not open; the accepted one is closed in any case."""
    there = None
    try:
        back, there = await asyncio.open_connection(host, port, limit=CHUNK)
        send_at_once(writer)
        send_at_once(there)
        ends = [asyncio.create_task(copy(reader, there)), asyncio.create_task(copy(back, writer))]
        # when the far side is done, so is the connection; when the near side is gone, the far side must notice
        await asyncio.wait(ends, return_when=asyncio.ALL_COMPLETED)
    finally:
        for end in (writer, there):
            if end is not None:
                end.close()


async def serve(listener: socket.socket, host: str, port: int) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            await join(reader, writer, host, port)

    server = await asyncio.start_server(connected, sock=listener, limit=CHUNK, backlog=512)
    async with server:
        await server.serve_forever()


async def _main(listeners: list[tuple[socket.socket, str, int]]) -> None:
    await asyncio.gather(*(serve(*each) for each in listeners))


def listen(port: int) -> socket.socket:
    """Return a listening socket on loopback; port 0 takes any free port."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    listener.listen(512)
    return listener


def main(pid: str, doors: list[str]) -> None:
    listeners = []
    for door in doors:
        local, _, target = door.partition("=")
        host, _, port = target.rpartition(":")
        listeners.append((listen(int(local)), host, int(port)))
    libc = ctypes.CDLL(None, use_errno=True)
    with open(f"/proc/{pid}/ns/net") as namespace:
        if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
            sys.exit(f"setns: {os.strerror(ctypes.get_errno())}")
    print("ready", flush=True)
    asyncio.run(_main(listeners))


if __name__ == "__main__":
    main(sys.argv[2], sys.argv[3:])
