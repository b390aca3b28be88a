"""Program that waits until this engine may have the card: ``turn.py PORT``. Ends with 0 after ``POST /wake_up``.

Where models take turns on one card, an engine that starts needs all of it, as an engine that wakes does. Until then
this answers on the engine's port, so that the wake keeper learns each engine's state in one way (``GET /metrics``) and
gives the card in one way (``POST /wake_up``). To all others it is a model that is not there yet.

Standard library only; the engine's own imports come after it.
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

WAITING = b"# TYPE ebbtide_turn_waiting gauge\nebbtide_turn_waiting 1\n"


class Door(BaseHTTPRequestHandler):
    timeout = 10

    def do_GET(self):
        if self.path.partition("?")[0] == "/metrics":
            self.answer(200, WAITING)
        else:
            self.answer(503, b"waits for its turn on the card\n")

    def do_POST(self):
        if self.path.partition("?")[0] == "/wake_up":
            self.answer(200, b"")
            self.server.shutdown()
        else:
            self.answer(503, b"waits for its turn on the card\n")

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)
        self.close_connection = True

    def log_message(self, *_):
        """Log nothing: probes and the keeper ask every second."""


def main(port):
    # a thread each: a client that connects and says nothing blocks no other
    with ThreadingHTTPServer(("0.0.0.0", port), Door) as server:  # noqa: S104  the pod's own address, as the engine's
        server.serve_forever(poll_interval=0.1)


if __name__ == "__main__":
    main(int(sys.argv[1]))
