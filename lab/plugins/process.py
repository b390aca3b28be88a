"""A plugin as a process: started by the engine, which reads the port from its first line and ends it by signal."""

from __future__ import annotations

import atexit
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import grpc
from pulumi.runtime.proto import provider_pb2_grpc

from lab.plugins.plugin import GRPC_OPTIONS, Engine, StandIn
from lab.plugins.wire import Servicer

WORKERS = 160
"""Each wait holds a thread, so there are more threads than a program has resources in flight."""


def serve(make: Callable[[Engine], StandIn]) -> None:
    """Run a resource plugin until the engine ends it."""
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR, format="%(name)s: %(message)s")
    addresses = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    plugin = make(Engine(addresses[-1] if addresses else None))
    run_server(
        lambda server: provider_pb2_grpc.add_ResourceProviderServicer_to_server(Servicer(plugin), server),
        plugin.cancelled.set,
    )


def run_server(add: Callable[[grpc.Server], None], cancel: Callable[[], None]) -> None:
    """Serve on a free loopback port, print the port, and stay until SIGINT or SIGTERM; then leave within seconds."""
    server = grpc.server(ThreadPoolExecutor(max_workers=WORKERS), options=GRPC_OPTIONS)
    add(server)
    port = server.add_insecure_port("127.0.0.1:0")
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    engine = os.getppid()
    # a killed engine cannot end its plugins, which must not outlive it
    while not ended.wait(2) and os.getppid() == engine:
        pass
    cancel()
    server.stop(grace=2).wait(3)
    sys.stdout.flush()
    sys.stderr.flush()
    atexit._run_exitfuncs()
    # A thread may still sit in a request to a cluster that does not answer; it must not keep the process alive.
    os._exit(0)
