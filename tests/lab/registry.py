"""A STAND-IN for a registry that refuses: before the lab's own, to which it sends whoever it does not refuse."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from infra.workspace import Paths
from lab.machine.kubernetes import PORTS
from tests.lab import network


@contextmanager
def registry_that_answers(paths: Paths, *first: int) -> Iterator[tuple[str, Sequence[int | None]]]:
    """Serve beside the nodes; yields the host and its tries. Each status in ``first`` refuses one try of a pull, which
    begins with HEAD of a manifest and may go on with other paths.
    """
    tries: list[int | None] = []
    answers = list(first)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.command == "HEAD" and "/manifests/" in self.path:
                tries.append(answers.pop(0) if answers else None)
            refused = tries[-1] if tries else None
            if refused is None:
                self.send_response(307)
                self.send_header("Location", f"http://127.0.0.1:{PORTS.registry}{self.path}")
            else:
                self.send_response(refused)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_HEAD = do_GET  # noqa: N815  the server's name for it

        def log_message(self, form: str, *values: object) -> None:
            pass

    servers: list[ThreadingHTTPServer] = []
    listens = threading.Event()

    def serve() -> None:
        network.enter(paths)
        servers.append(ThreadingHTTPServer(("127.0.0.1", 0), Handler))
        listens.set()
        servers[0].serve_forever()

    threading.Thread(target=serve, daemon=True).start()
    assert listens.wait(10)
    try:
        yield f"127.0.0.1:{servers[0].server_port}", tries
    finally:
        servers[0].shutdown()
        servers[0].server_close()
