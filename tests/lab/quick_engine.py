"""A STAND-IN for vLLM's server, ready in a second: for tests of what wakes, holds, counts and ends an engine.

It runs in vLLM's place behind the image's own entry point, with vLLM's arguments. What it has of vLLM 0.32: the paths
/health, /metrics, /v1/models, /v1/completions and /v1/chat/completions, streamed or whole; so many requests at once as
``--max-num-seqs``, the others wait; a SIGTERM ends it when what it has begun is answered. Its words are no model's, one
every ``TOKEN_SECONDS``, which whoever runs it gives. Standard library only: it is mounted into the pod as it stands.
"""

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

TOKEN_SECONDS = globals().get("TOKEN_SECONDS", 0.02)
MOST_TOKENS = 64  # of who names no limit


def argument(name, default):
    words = sys.orig_argv
    return words[words.index(name) + 1] if name in words else default


MODEL = argument("--served-model-name", "model")


class Count:
    """Requests that run and wait now, answered ones and tokens since the start."""

    def __init__(self):
        self.changed = threading.Lock()
        self.places = threading.Semaphore(int(argument("--max-num-seqs", "16")))
        self.inside = self.running = self.answered = self.tokens = 0

    def add(self, **more):
        with self.changed:
            for name, value in more.items():
                setattr(self, name, getattr(self, name) + value)

    def metrics(self):
        values = {
            "num_requests_running": self.running,
            "num_requests_waiting": self.inside - self.running,
            "request_success_total": self.answered,
            "prompt_tokens_total": self.answered,
            "generation_tokens_total": self.tokens,
        }
        lines = (f'vllm:{name}{{engine="0",model_name="{MODEL}"}} {value}.0\n' for name, value in values.items())
        return "".join(lines).encode()


count = Count()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.path == "/metrics":
            self.say(count.metrics(), "text/plain")
        elif self.path == "/v1/models":
            self.say({"object": "list", "data": [{"id": MODEL, "object": "model"}]})
        elif self.path == "/health":
            self.say(b"")
        else:
            self.say({"detail": "Not Found"}, status=404)

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path not in ("/v1/chat/completions", "/v1/completions"):
            return self.say({"detail": "Not Found"}, status=404)
        count.add(inside=1)
        try:
            with count.places:
                count.add(running=1)
                try:
                    self.answer(asked)
                finally:
                    count.add(running=-1)
            count.add(answered=1)
        finally:
            count.add(inside=-1)

    def answer(self, asked):
        most = asked.get("max_completion_tokens") or asked.get("max_tokens") or MOST_TOKENS
        usage = {"prompt_tokens": 1, "completion_tokens": most, "total_tokens": most + 1}
        chat = self.path == "/v1/chat/completions"
        head = {
            "id": "quick",
            "object": "chat.completion" if chat else "text_completion",
            "created": int(time.time()),
            "model": MODEL,
        }
        if not asked.get("stream"):
            text = "".join(self.words(most))
            content = {"message": {"role": "assistant", "content": text}} if chat else {"text": text}
            return self.say({**head, "choices": [{"index": 0, **content, "finish_reason": "length"}], "usage": usage})
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        head["object"] += ".chunk" if chat else ""
        for number, word in enumerate(self.words(most), 1):
            content = {"delta": {"content": word}} if chat else {"text": word}
            self.event(
                {**head, "choices": [{"index": 0, **content, "finish_reason": "length" if number == most else None}]}
            )
        if (asked.get("stream_options") or {}).get("include_usage"):
            self.event({**head, "choices": [], "usage": usage})
        self.chunk(b"data: [DONE]\n\n")
        self.chunk(b"")

    def words(self, most):
        for number in range(most):
            time.sleep(TOKEN_SECONDS)
            count.add(tokens=1)
            yield f"word{number} "

    def event(self, event):
        self.chunk(b"data: " + json.dumps(event).encode() + b"\n\n")

    def chunk(self, content):
        self.wfile.write(f"{len(content):x}\r\n".encode() + content + b"\r\n")
        self.wfile.flush()

    def say(self, body, kind="application/json", status=200):
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, form, *values):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request, client_address):
        """A client that left is no error."""


def main():
    told_to_go = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: told_to_go.set())
    server = Server(("0.0.0.0", int(argument("--port", "8000"))), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print("STAND-IN for vLLM: listening", flush=True)
    told_to_go.wait()
    server.shutdown()
    server.server_close()
    while count.inside:
        time.sleep(0.05)
    os._exit(0)


main()
