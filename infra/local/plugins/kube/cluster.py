"""One connection to a cluster: requests with clear errors, and which path serves which kind."""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from atexit import register
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import urllib3

from infra.local.plugins.kube.settings import Settings
from infra.local.plugins.protocol import RefusedError

APPLY = "application/apply-patch+yaml"
_TIMEOUT_SECONDS = (5, 65)
_CONNECTIONS = 64


class ApiError(RefusedError):
    """The API server said no."""

    def __init__(self, status: int, body: dict[str, Any]) -> None:
        super().__init__(str(body.get("message") or body.get("reason") or f"HTTP {status}"))
        self.status = status
        self.reason = str(body.get("reason") or "")
        self.details: dict[str, Any] = body.get("details") or {}

    @property
    def namespace_missing(self) -> bool:
        """Whether it is the namespace, and not the object, that is not there."""
        return self.status == 404 and self.details.get("kind") == "namespaces"

    @property
    def immutable(self) -> bool:
        """Whether a field cannot be changed on an existing object."""
        return self.status == 422 and "immutable" in str(self)

    @property
    def conflict(self) -> bool:
        """Whether another manager owns a field that was applied."""
        causes = self.details.get("causes") or []
        return self.status == 409 and any(c.get("reason") == "FieldManagerConflict" for c in causes)


class UnreachableError(RefusedError):
    """Nobody answers at the cluster's address."""


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
        self._api: Any = None
        self._config: dict[str, Any] | None = None
        self._kinds: dict[str, dict[str, Endpoint]] = {}
        self._answered = False
        self._failed_at = 0.0
        self._failure = ""

    @property
    def default_namespace(self) -> str:
        """Where namespaced objects go that do not say."""
        if self.settings.namespace:
            return self.settings.namespace
        try:
            return str(self.settings.context_of(self._loaded()).get("namespace") or "default")
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
                self._send("GET", "/version", None, None, "", (3, 5))
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
                return self._send(method, path, query, body, content, _TIMEOUT_SECONDS)
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

    def _loaded(self) -> dict[str, Any]:
        if self._config is None:
            self._config = self.settings.load()
        return self._config

    def _connection(self) -> Any:
        if self._api is None:
            # Half a second of imports that a preview without changes can do without.
            from kubernetes import client
            from kubernetes.config import kube_config
            from kubernetes.config.config_exception import ConfigException

            loaded = self._loaded()
            self.settings.address(loaded)
            # The client library keeps keys in files while it runs; they must not outlive the plugin.
            keys = tempfile.mkdtemp(prefix="ebbtide-stand-in-")
            register(shutil.rmtree, keys, ignore_errors=True)
            configuration = client.Configuration()
            configuration.retries = urllib3.Retry(total=0)
            configuration.connection_pool_maxsize = _CONNECTIONS
            try:
                kube_config.load_kube_config_from_dict(
                    loaded, context=self.settings.context_name(loaded), client_configuration=configuration,
                    persist_config=False, temp_file_path=keys,
                )  # fmt: skip
            except (ConfigException, OSError) as error:
                raise RefusedError(f"kubeconfig, context {self.settings.context_name(loaded)!r}: {error}") from None
            self._api = client.ApiClient(configuration)
        return self._api

    def _send(
        self, method: str, path: str, query: dict[str, str] | None, body: Any, content: str, timeout: Any
    ) -> dict[str, Any]:
        api = self._connection()
        headers = {"Accept": "application/json", "Content-Type": content or "application/json"}
        # Text and not a map: the client library would otherwise walk every object before it writes it.
        text = None if body is None else json.dumps(body)
        arguments = api.param_serialize(
            method, path, query_params=list((query or {}).items()), header_params=headers,
            auth_settings=["BearerToken"],
        )  # fmt: skip
        try:
            answer = api.rest_client.pool_manager.request(
                method, arguments[1], headers=arguments[2], body=text, timeout=urllib3.Timeout(*timeout)
            )
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnreachableError(self._unreachable(error)) from None
        try:
            decoded = json.loads(answer.data)
        except ValueError:
            decoded = {"message": answer.data.decode(errors="replace").strip()[:500]}
        if not isinstance(decoded, dict):
            decoded = {"message": str(decoded)}
        if answer.status >= 400:
            raise ApiError(answer.status, decoded)
        return decoded

    def _unreachable(self, error: Exception) -> str:
        loaded = self._loaded()
        return (
            f"the Kubernetes cluster of context {self.settings.context_name(loaded)!r} does not answer at "
            f"{self.settings.address(loaded)} ({_cause(error)}): is it up, and is this the right kubeconfig?"
        )


def _cause(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    deepest = reason if isinstance(reason, Exception) else error
    text = str(deepest)
    return text.split(": ", 1)[-1] if "object at 0x" in text else text
