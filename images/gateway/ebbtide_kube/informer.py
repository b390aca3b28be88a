"""Local copy of the cluster's objects of one kind, kept by list and watch.

A watch and not a poll: the guard lets the next model start the moment the last one is gone, and an idle gateway asks
the API server nothing. While the API is away the copy is unknown, and what depends on it decides nothing.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import httpx

from .api import MODEL_LABEL, authorization, describe

_WATCH_SECONDS = 240
_RETRY_SECONDS = 1.0
_log = logging.getLogger("ebbtide.cluster")


class ListAgain(Exception):
    """Signal that the watch cannot go on from where it was (410 Gone)."""


class Informer:
    """Copy of the objects of one kind, by name: the models', those with other ``labels``, or the one of a ``name``, for
    which a right to that one is enough. ``path`` is the API's list.

    ``items`` is None until the first list and while the API cannot be reached; ``changed`` is called whenever they may
    have changed. ``without`` says in the log what does not work while they are unknown.
    """

    def __init__(
        self,
        client: httpx.AsyncClient,
        path: str,
        token: Path,
        changed: Callable[[], None],
        without: str,
        labels: str = MODEL_LABEL,
        name: str | None = None,
    ) -> None:
        self._client = client
        self._which = {"labelSelector": labels} if name is None else {"fieldSelector": f"metadata.name={name}"}
        self._path = path
        self._token = token
        self._changed = changed
        self._without = without
        self._items: dict[str, Mapping[str, Any]] | None = None

    @property
    def items(self) -> Mapping[str, Mapping[str, Any]] | None:
        """Return the objects by name."""
        return self._items

    async def run(self) -> None:
        """List and watch until cancelled."""
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
                self._items = None
                self._changed()
                await asyncio.sleep(_RETRY_SECONDS)

    @property
    def _kind(self) -> str:
        return self._path.rpartition("/")[2]

    async def _list(self) -> str:
        answer = await self._client.get(self._path, params=self._which, headers=self._headers(), timeout=10)
        answer.raise_for_status()
        document = answer.json()
        self._items = {_name(item): item for item in document["items"]}
        self._changed()
        return str(document["metadata"]["resourceVersion"])

    async def _watch(self, version: str) -> str:
        params = {
            **self._which,
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
        if self._items is not None and kind != "BOOKMARK":
            if kind == "DELETED":
                self._items.pop(_name(item), None)
            else:
                self._items[_name(item)] = item
            self._changed()
        version = item.get("metadata", {}).get("resourceVersion")
        return None if version is None else str(version)

    def _headers(self) -> dict[str, str]:
        # Read each time: the kubelet rotates a projected token about every hour.
        return authorization(self._token)


def _name(item: Mapping[str, Any]) -> str:
    return str(item["metadata"]["name"])
