"""Reading calls to JSON services that take a bearer token, which the user's own command line tool hands out."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import httpx

from components.platforms.checkup import CannotAsk, NotSignedIn, Tools, document

_MOST_PAGES = 50


class NotFound(CannotAsk):
    """The service does not have what it was asked for."""


class NotAllowed(CannotAsk):
    """The user may not read what was asked for."""


class Bearer:
    """The services of one place. ``login`` returns the token or raises ``CannotAsk``; it is called once. ``sign_in`` is
    the command for the user, and ``domains`` the only hosts (their ends) that the token is sent to. ``switched_off``
    explains a refusal that has nothing to do with the user's rights, if it is one.
    """

    def __init__(
        self,
        tools: Tools,
        login: Callable[[], str],
        sign_in: str,
        domains: tuple[str, ...],
        headers: Mapping[str, str],
        switched_off: Callable[[Any], CannotAsk | None] = lambda error: None,
    ) -> None:
        self.tools, self._login, self._sign_in, self._headers = tools, login, sign_in, headers
        self._domains = domains
        self._switched_off = switched_off
        self._lock = threading.Lock()
        self._login_result: str | NotSignedIn | None = None

    def get(self, url: str) -> Any:
        """Return the JSON behind a URL. Raises ``CannotAsk``."""
        return self._read(self.tools.get(url, self._signed(url)), "read")

    def pages(self, url: str, key: str, following: str) -> Iterator[Any]:
        """Yield the items under ``key`` of all pages; ``following`` is the key of the next one's URL."""
        for _ in range(_MOST_PAGES):
            page = self.get(url)
            yield from page.get(key) or ()
            if not page.get(following):
                return
            url = page[following]

    def post(self, action: str, url: str, body: Any) -> Any:
        """Return the answer to a POST that only reads, as its ``action`` says. Raises ``CannotAsk``."""
        headers = {**self._signed(url), "content-type": "application/json"}
        return self._read(self.tools.post(action, url, headers, json.dumps(body).encode()), action)

    def _signed(self, url: str) -> dict[str, str]:
        # neither a stack file nor an answer may lead the token elsewhere
        if httpx.URL(url).scheme != "https" or not httpx.URL(url).host.endswith(self._domains):
            raise CannotAsk(f"the token is for {' and '.join(self._domains)} alone")
        with self._lock:
            if self._login_result is None:
                try:
                    self._login_result = self._login().strip()
                    self.tools.secrets.add(self._login_result)
                except CannotAsk as missing:
                    self._login_result = NotSignedIn(f"no credentials: {missing.why}", f"sign in: {self._sign_in}")
        if isinstance(self._login_result, NotSignedIn):
            raise self._login_result
        return {**self._headers, "authorization": f"Bearer {self._login_result}", "accept": "application/json"}

    def _read(self, answer: httpx.Response, what: str) -> Any:
        host, path = answer.url.host, answer.url.path
        if answer.is_success:
            return document(answer)
        if answer.status_code == 401:
            raise NotSignedIn(f"{host} refuses the credentials", f"sign in: {self._sign_in}")
        if answer.status_code == 404:
            raise NotFound(f"{host} does not have {path}")
        if answer.status_code == 403:
            off = self._switched_off(document(answer))
            raise off or NotAllowed(f"not allowed to {what} {host}{path}", "ask for the right to read it")
        raise CannotAsk(f"{host} answers {answer.status_code}")
