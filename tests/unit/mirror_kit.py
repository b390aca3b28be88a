"""A hub on loopback that has what a test gives it, and misbehaves as told."""

from __future__ import annotations

import hashlib
import json
import re
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(PROJECT / "images" / "mirror"))

MODEL = "acme/tiny"
REVISION = "0123456789abcdef0123456789abcdef01234567"
TOKEN = "hf_" + "t0ken" * 6
_RESOLVE = re.compile(r"/([^/]+/[^/]+)/resolve/([0-9a-f]+)/(.+)")
_INFO = re.compile(r"/api/models/([^/]+/[^/]+)/revision/([^?]+)")


def git_blob(contents: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(contents) + contents).hexdigest()


@dataclass
class FakeHub:
    """``files`` by name; those in ``lfs`` are listed with a sha256. ``cut_after`` ends each transfer after so many
    bytes, ``busy`` answers 503 so many times, ``wrong`` sends other bytes of the same length for these names."""

    files: Mapping[str, bytes]
    lfs: frozenset[str] = frozenset()
    gated: bool = False
    private: bool = False
    cut_after: int | None = None
    busy: int = 0
    wrong: set[str] = field(default_factory=set)
    asked: list[str] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    url: str = ""

    def reads(self, name: str) -> int:
        return sum(asked.startswith(f"{name} ") for asked in self.asked)

    def listed(self) -> list[dict[str, Any]]:
        entries = []
        for name, contents in self.files.items():
            entry: dict[str, Any] = {"rfilename": name, "size": len(contents), "blobId": git_blob(contents)}
            if name in self.lfs:
                sha256 = hashlib.sha256(contents).hexdigest()
                entry["lfs"] = {"sha256": sha256, "size": len(contents), "pointerSize": 130}
            entries.append(entry)
        return entries


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        hub = self.hub
        hub.tokens.add(self.headers.get("Authorization", ""))
        if match := _INFO.match(self.path):
            self._info(*match.groups())
        elif match := _RESOLVE.match(self.path):
            self._file(match.group(3))
        else:
            self._refuse(404, "EntryNotFound")

    def _info(self, model: str, revision: str) -> None:
        hub = self.hub
        if hub.private and TOKEN not in self.headers.get("Authorization", ""):
            self._refuse(401, "RepoNotFound")
        elif model != MODEL:
            self._refuse(404, "RepoNotFound")
        elif revision != REVISION:
            self._refuse(404, "RevisionNotFound")
        else:
            document = {"_id": "1", "id": MODEL, "modelId": MODEL, "sha": REVISION, "siblings": hub.listed()}
            self._answer(200, json.dumps(document).encode(), {"Content-Type": "application/json"})

    def _file(self, name: str) -> None:
        hub = self.hub
        hub.asked.append(f"{name} {self.headers.get('Range', '')}")
        if hub.gated:
            self._refuse(403, "GatedRepo")
            return
        if hub.busy:
            hub.busy -= 1
            self._answer(503, b"", {})
            return
        whole = hub.files[name]
        contents = b"x" * len(whole) if name in hub.wrong else whole
        at = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        sent = contents[at:] if hub.cut_after is None else contents[at : at + hub.cut_after]
        self.send_response(206 if at else 200)
        self.send_header("Content-Length", str(len(contents) - at))
        self.end_headers()
        self.wfile.write(sent)
        self.close_connection = True

    def _refuse(self, status: int, code: str) -> None:
        self._answer(status, b"{}", {"X-Error-Code": code, "X-Error-Message": "told by the fake"})

    def _answer(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def served(hub: FakeHub) -> Iterator[FakeHub]:
    """The hub, listening."""
    handler = type("Handler", (_Handler,), {"hub": hub})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        hub.url = f"http://127.0.0.1:{server.server_address[1]}"
        try:
            yield hub
        finally:
            server.shutdown()
            thread.join()
