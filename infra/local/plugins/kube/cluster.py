"""One connection to a cluster: requests with clear errors, and which path serves which kind."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import quote

from infra.local.plugins.kube.connection import ApiError, Connection, UnreachableError
from infra.local.plugins.kube.settings import Settings
from infra.local.plugins.plugin import RefusedError

APPLY = "application/apply-patch+yaml"
_TIMEOUT_SECONDS = (5, 65)


class KindUnknownError(RefusedError):
    """The cluster does not serve this kind, or not yet."""


@dataclass(frozen=True)
class Endpoint:
    """How one kind is reached."""

    prefix: str
    plural: str
    namespaced: bool

    def path(self, name: str = "", namespace: str = "") -> str:
        """The path of one object, or of the collection when ``name`` is empty."""
        place = f"/namespaces/{quote(namespace)}" if self.namespaced and namespace else ""
        return f"{self.prefix}{place}/{self.plural}" + (f"/{quote(name)}" if name else "")


class Cluster:
    """Thread-safe; connects on first use, so that a program without changes never needs the cluster."""

    def __init__(self, settings: Settings, cancelled: threading.Event) -> None:
        self.settings = settings
        self._cancelled = cancelled
        self._lock = threading.Lock()
        self._connecting = threading.Lock()
        self._connected: Connection | None = None
        self._kinds: dict[str, dict[str, Endpoint]] = {}
        self._answered = False
        self._failed_at = 0.0
        self._failure = ""

    @cached_property
    def default_namespace(self) -> str:
        """Where namespaced objects go that do not say."""
        if self.settings.namespace:
            return self.settings.namespace
        try:
            return str(self.settings.context_of(self.settings.load()).get("namespace") or "default")
        except RefusedError:
            return "default"

    def check_reachable(self) -> None:
        """Raise `UnreachableError` naming context and address when nobody answers; a failure is remembered for 5 s."""
        with self._lock:
            if self._answered:
                return
            if self._failure and time.monotonic() - self._failed_at < 5:
                raise UnreachableError(self._failure)
            try:
                self._connection().send("GET", "/version", None, None, "", (3, 5))
            except UnreachableError as error:
                self._failed_at, self._failure = time.monotonic(), str(error)
                raise
            self._answered = True

    def request(
        self, method: str, path: str, query: dict[str, str] | None = None, body: Any = None, content: str = ""
    ) -> dict[str, Any]:
        """One JSON request. Every request made here can be repeated safely, so a lost connection is tried again."""
        for attempt in range(4):
            try:
                return self._connection().send(method, path, query, body, content, _TIMEOUT_SECONDS)
            except UnreachableError:
                if attempt == 2 or self._cancelled.wait(0.5 * (attempt + 1)):
                    raise
            except ApiError as error:
                busy = error.status == 429 or (error.status == 503 and error.reason == "ServiceUnavailable")
                if not busy or attempt == 3:
                    raise
                wait = float(error.details.get("retryAfterSeconds") or attempt + 1)
                if self._cancelled.wait(wait):
                    raise
        raise AssertionError("the last attempt returns or raises")

    def endpoint(self, api_version: str, kind: str, *, fresh: bool = False) -> Endpoint:
        """Where ``kind`` is served; asks again when it is not known. Raises `KindUnknownError`."""
        known = self._kinds.get(api_version, {})
        if kind not in known or fresh:
            prefix = f"/api/{api_version}" if "/" not in api_version else f"/apis/{api_version}"
            try:
                answer = self.request("GET", prefix)
            except ApiError as error:
                if error.status not in (404, 503):
                    raise
                raise KindUnknownError(f"the cluster does not serve {api_version} ({kind})") from None
            known = {
                item["kind"]: Endpoint(prefix, item["name"], item["namespaced"])
                for item in answer.get("resources") or []
                if "/" not in item["name"]
            }
            self._kinds[api_version] = known
        if kind not in known:
            raise KindUnknownError(f"the cluster serves {api_version}, but no kind {kind} in it")
        return known[kind]

    def get(self, endpoint: Endpoint, name: str, namespace: str) -> dict[str, Any] | None:
        """One object, or None when it is not there."""
        try:
            return self.request("GET", endpoint.path(name, namespace))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    def _connection(self) -> Connection:
        with self._connecting:
            if self._connected is None:
                self._connected = Connection(self.settings)
            return self._connected
