"""What the cluster shows of the models: list, then watch.

A watch and not a poll: the guard lets the next model up the moment the last one is gone, and an idle gateway
asks the API server nothing. When the API is away the view is unknown and whoever looks through it stands aside.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import ssl
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

MODEL_LABEL = "ebbtide.dev/model"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_WATCH_SECONDS = 240
_RETRY_SECONDS = 1.0
_log = logging.getLogger("ebbtide.cluster")


class ListAgain(Exception):
    """The watch cannot go on from where it was (410 Gone)."""


class Watched:
    """Objects of one kind by their own names, kept up to date: the models', or those with other ``labels``. ``path`` is
    the API's list of them.

    ``seen`` is None until the first list and while the API cannot be reached; ``changed`` is called whenever it
    may have moved. ``without`` says in the log what does not work while nothing is seen.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        path: str,
        token: Path,
        changed: Callable[[], None],
        without: str,
        labels: str = MODEL_LABEL,
    ) -> None:
        self._client = client
        self._labels = labels
        self._path = path
        self._token = token
        self._changed = changed
        self._without = without
        self._seen: dict[str, Mapping[str, Any]] | None = None

    @property
    def seen(self) -> Mapping[str, Mapping[str, Any]] | None:
        """The objects by name."""
        return self._seen

    async def follow(self) -> None:
        """Run until cancelled."""
        reachable = True
        while True:
            try:
                version = await self._list()
                if not reachable:
                    _log.warning("%s: the Kubernetes API answers again", self._kind)
                reachable = True
                while True:
                    started = time.monotonic()
                    version = await self._watch(version)
                    if time.monotonic() - started < _RETRY_SECONDS:
                        await asyncio.sleep(_RETRY_SECONDS)  # a proxy that ends every watch must not be hammered
            except ListAgain:
                continue
            except (httpx.HTTPError, OSError, ValueError, KeyError, TypeError) as problem:
                if reachable:
                    _log.warning(
                        "%s: the Kubernetes API cannot be read (%s): %s", self._kind, describe(problem), self._without
                    )
                reachable = False
                self._seen = None
                self._changed()
                await asyncio.sleep(_RETRY_SECONDS)

    @property
    def _kind(self) -> str:
        return self._path.rpartition("/")[2]

    async def _list(self) -> str:
        answer = await self._client.get(
            self._path, params={"labelSelector": self._labels}, headers=self._headers(), timeout=10
        )
        answer.raise_for_status()
        document = answer.json()
        self._seen = {_name(item): item for item in document["items"]}
        self._changed()
        return str(document["metadata"]["resourceVersion"])

    async def _watch(self, version: str) -> str:
        params = {
            "labelSelector": self._labels,
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(_WATCH_SECONDS),
        }
        timeout = httpx.Timeout(_WATCH_SECONDS + 30, connect=10)
        request = self._client.stream("GET", self._path, params=params, headers=self._headers(), timeout=timeout)
        async with request as answer:
            if answer.status_code == 410:
                raise ListAgain
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                version = self._take(json.loads(line)) or version
        return version

    def _take(self, event: Mapping[str, Any]) -> str | None:
        kind, item = event["type"], event["object"]
        if kind == "ERROR":
            if item.get("code") == 410:
                raise ListAgain
            raise ValueError(f"watch error {item.get('code')}")
        if self._seen is not None and kind != "BOOKMARK":
            if kind == "DELETED":
                self._seen.pop(_name(item), None)
            else:
                self._seen[_name(item)] = item
            self._changed()
        version = item.get("metadata", {}).get("resourceVersion")
        return None if version is None else str(version)

    def _headers(self) -> dict[str, str]:
        # Read each time: the kubelet rotates a projected token about every hour.
        return authorization(self._token)


def deployments(namespace: str) -> str:
    """The API's list of Deployments."""
    return f"/apis/apps/v1/namespaces/{namespace}/deployments"


def groups(namespace: str) -> str:
    """The API's list of LeaderWorkerSets."""
    return f"/apis/leaderworkerset.x-k8s.io/v1/namespaces/{namespace}/leaderworkersets"


def pods(namespace: str) -> str:
    """The API's list of pods."""
    return f"/api/v1/namespaces/{namespace}/pods"


def endpoint_slices(namespace: str) -> str:
    """The API's list of EndpointSlices. They carry their Service's labels."""
    return f"/apis/discovery.k8s.io/v1/namespaces/{namespace}/endpointslices"


def scaled_objects(namespace: str) -> str:
    """The API's list of KEDA's ScaledObjects."""
    return f"/apis/keda.sh/v1alpha1/namespaces/{namespace}/scaledobjects"


def authorization(token: Path) -> dict[str, str]:
    """The header that says who asks."""
    return {"authorization": f"Bearer {token.read_text().strip()}"}


def describe(problem: Exception) -> str:
    """One short phrase without addresses or headers."""
    if isinstance(problem, httpx.HTTPStatusError):
        return f"status {problem.response.status_code}"
    return type(problem).__name__


def _name(item: Mapping[str, Any]) -> str:
    return str(item["metadata"]["name"])


def model_of(item: Mapping[str, Any]) -> str:
    """The model an object belongs to."""
    return str(item["metadata"]["labels"][MODEL_LABEL])


def connect(api_server: str | None, account: Path = SERVICE_ACCOUNT) -> httpx.AsyncClient:
    """A client for the given API server, or for the cluster this pod runs in."""
    if api_server is None:
        host = os.environ.get("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc")
        port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        api_server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    authority = account / "ca.crt"
    verify = ssl.create_default_context(cafile=str(authority) if authority.exists() else None)
    return httpx.AsyncClient(base_url=api_server, verify=verify, trust_env=False)
