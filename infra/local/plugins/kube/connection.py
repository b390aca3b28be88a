"""One authenticated HTTPS connection pool to an API server, and what its refusals mean."""

from __future__ import annotations

import json
import ssl
import tempfile
from typing import Any
from urllib.parse import urlencode

import urllib3

from infra.local.plugins.kube.settings import Settings
from infra.local.plugins.late_imports import ONE_AT_A_TIME
from infra.local.plugins.plugin import RefusedError

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


class Connection:
    """Made from a kubeconfig by the Kubernetes client library: tokens, certificates, exec plugins are its business."""

    def __init__(self, settings: Settings) -> None:
        # Half a second of imports that a preview without changes can do without.
        with ONE_AT_A_TIME:
            from kubernetes import client
            from kubernetes.config import kube_config
            from kubernetes.config.config_exception import ConfigException

        loaded = settings.load()
        self.context, self.address = settings.context_name(loaded), settings.address(loaded)
        configuration: Any = client.Configuration()
        # The library hands keys over as files; they are gone again as soon as they have been read.
        with tempfile.TemporaryDirectory(prefix="ebbtide-stand-in-") as keys:
            try:
                load: Any = kube_config.load_kube_config_from_dict
                load(
                    loaded, context=self.context, client_configuration=configuration, persist_config=False,
                    temp_file_path=keys,
                )  # fmt: skip
                options: dict[str, Any] = {
                    "ssl_context": _tls(configuration),
                    "server_hostname": configuration.tls_server_name,
                    "assert_hostname": configuration.assert_hostname,
                    "maxsize": _CONNECTIONS,
                    "retries": urllib3.Retry(total=0),
                }
            except (ConfigException, OSError) as error:
                raise RefusedError(f"kubeconfig, context {self.context!r}: {error}") from None
        options = {key: value for key, value in options.items() if value is not None}
        self._configuration = configuration
        self._pool = (
            urllib3.ProxyManager(configuration.proxy, **options)
            if configuration.proxy
            else urllib3.PoolManager(**options)
        )

    def send(
        self, method: str, path: str, query: dict[str, str] | None, body: Any, content: str, timeout: tuple[int, int]
    ) -> dict[str, Any]:
        """One request and its JSON answer. Raises `ApiError` or `UnreachableError`; never tries twice."""
        headers = {"Accept": "application/json", "Content-Type": content or "application/json"}
        for name in ("BearerToken", "BasicToken"):
            setting = self._configuration.auth_settings().get(name)
            if setting and setting["value"]:
                headers[setting["key"]] = setting["value"]
        url = self._configuration.host + path + (f"?{urlencode(query)}" if query else "")
        text = None if body is None else json.dumps(body)
        try:
            answer = self._pool.request(method, url, headers=headers, body=text, timeout=urllib3.Timeout(*timeout))
        except (urllib3.exceptions.HTTPError, OSError) as error:
            raise UnreachableError(
                f"the Kubernetes cluster of context {self.context!r} does not answer at {self.address} "
                f"({_cause(error)}): is it up, and is this the right kubeconfig?"
            ) from None
        try:
            decoded = json.loads(answer.data)
        except ValueError:
            decoded = {"message": answer.data.decode(errors="replace").strip()[:500]}
        if not isinstance(decoded, dict):
            decoded = {"message": str(decoded)}
        if answer.status >= 400:
            raise ApiError(answer.status, decoded)
        return decoded


def _tls(configuration: Any) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=configuration.ssl_ca_cert)
    if not configuration.verify_ssl:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    # Clusters' own authorities are often older than the strictness that newer Pythons ask of the public ones.
    context.verify_flags &= ~getattr(ssl, "VERIFY_X509_STRICT", 0)
    if configuration.cert_file:
        context.load_cert_chain(configuration.cert_file, configuration.key_file)
    return context


def _cause(error: Exception) -> str:
    reason = getattr(error, "reason", None)
    text = str(reason if isinstance(reason, Exception) else error)
    return text.split(": ", 1)[-1] if "object at 0x" in text else text
