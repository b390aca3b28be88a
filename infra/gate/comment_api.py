"""The little of HTTP that the comment needs: one forge, one token, and no token for anybody else."""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from email.message import Message
from typing import IO, Any

SECONDS = 60
PAGES = 40
_LARGEST_ANSWER = 32 * 2**20


class _KeepTokenHome(urllib.request.HTTPRedirectHandler):
    """Archives lie on another host, which must not see the token."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        there = super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
        if there is not None and urllib.parse.urlsplit(newurl).netloc != urllib.parse.urlsplit(req.full_url).netloc:
            for name in [name for name in there.headers if name.lower() in ("authorization", "private-token")]:
                del there.headers[name]
        return there


class Api:
    """A forge's API. Every call raises ``urllib.error.HTTPError`` where it is refused."""

    def __init__(self, base: str, headers: Mapping[str, str]) -> None:
        self._base, self._headers = base.rstrip("/"), dict(headers)
        self._opener = urllib.request.build_opener(_KeepTokenHome)

    def get(self, path: str, **query: str | int) -> Any:
        return json.loads(self._send("GET", _url(path, query), None, _LARGEST_ANSWER))

    def pages(self, path: str, **query: str | int) -> Iterator[Any]:
        """The items of every page of a list."""
        for page in range(1, PAGES + 1):
            items = self.get(path, **query, per_page=100, page=page)
            yield from items
            if len(items) < 100:
                return

    def download(self, path: str, largest: int) -> bytes:
        """At most one byte more than ``largest``."""
        return self._send("GET", path, None, largest + 1)

    def send(self, method: str, path: str, content: Mapping[str, Any]) -> None:
        self._send(method, path, json.dumps(content).encode(), _LARGEST_ANSWER)

    def _send(self, method: str, path: str, content: bytes | None, largest: int) -> bytes:
        headers = {**self._headers, "User-Agent": "ebbtide-gate", "Content-Type": "application/json"}
        request = urllib.request.Request(self._base + path, content, headers, method=method)  # noqa: S310
        with self._opener.open(request, timeout=SECONDS) as answer:
            read: bytes = answer.read(largest)
            return read


def quoted(part: str | int) -> str:
    """A part of a path."""
    return urllib.parse.quote(str(part), safe="")


def _url(path: str, query: Mapping[str, str | int]) -> str:
    return f"{path}?{urllib.parse.urlencode(query)}" if query else path
