"""How many GPUs the models hold, from the cluster's own Deployments and LeaderWorkerSets: list, then watch.

A watch and not a poll: the guard lets the next model up the moment the last one is gone, and an idle gateway
asks the API server nothing. When the API is away the view is unknown and the guard stands aside.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import ssl
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from .guard import Taken

MODEL_LABEL = "ebbtide.dev/model"
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
_WATCH_SECONDS = 240
_RETRY_SECONDS = 1.0
_log = logging.getLogger("ebbtide.cluster")


class ListAgain(Exception):
    """The watch cannot go on from where it was (410 Gone)."""


def replicas_of(workload: Mapping[str, Any]) -> int:
    """Replicas wanted, or still there when fewer are wanted: a pod that drains holds its GPU."""
    wanted = workload.get("spec", {}).get("replicas", 1)
    return max(int(wanted), int(workload.get("status", {}).get("replicas", 0)))


def gpus_of(workload: Mapping[str, Any]) -> int:
    """GPUs one replica asks for, of a group all its pods: limits of GPU and MIG resources over the containers."""
    spec = workload.get("spec", {})
    group = spec.get("leaderWorkerTemplate")
    if group is None:
        return _gpus_of_pod(spec.get("template", {}))
    worker = group.get("workerTemplate", {})
    return _gpus_of_pod(group.get("leaderTemplate") or worker) + (int(group.get("size", 1)) - 1) * _gpus_of_pod(worker)


def _gpus_of_pod(template: Mapping[str, Any]) -> int:
    containers = template.get("spec", {}).get("containers", [])
    limits = [container.get("resources", {}).get("limits", {}) for container in containers]
    return sum(
        int(count)
        for limit in limits
        for resource, count in limit.items()
        if resource.endswith("/gpu") or "/mig-" in resource
    )


class Workloads:
    """What runs models, of every kind that is watched. ``taken`` is None until all are listed and while the API cannot
    be reached: half of a view would let one model up over another.
    """

    def __init__(self, views: Sequence[Watched]) -> None:
        self._views = tuple(views)

    def taken(self) -> Taken | None:
        """What the cluster shows now."""
        seen = [view.taken() for view in self._views]
        known = [taken for taken in seen if taken is not None]
        if len(known) < len(seen):
            return None
        # a model that changes its kind has both for a while, and the old pods hold their GPUs
        replicas: Counter[str] = Counter()
        for taken in known:
            replicas.update(taken.replicas)
        return Taken(replicas, {name: count for taken in known for name, count in taken.gpus.items()})

    async def follow(self) -> None:
        """Run until cancelled."""
        await asyncio.gather(*(view.follow() for view in self._views))


def workloads(
    client: httpx.AsyncClient, namespace: str, groups: bool, token: Path, changed: Callable[[], None]
) -> Workloads:
    """Deployments, and LeaderWorkerSets where the stack has ``groups``: a cluster without them knows no such list."""
    kinds = ["apps/v1/namespaces/{}/deployments"]
    if groups:
        kinds.append("leaderworkerset.x-k8s.io/v1/namespaces/{}/leaderworkersets")
    return Workloads([Watched(client, "/apis/" + kind.format(namespace), token, changed) for kind in kinds])


class Watched:
    """All workloads of one kind. ``taken`` is None until the first list and while the API cannot be reached."""

    def __init__(self, client: httpx.AsyncClient, path: str, token: Path, changed: Callable[[], None]) -> None:
        self._client = client
        self._path = path
        self._token = token
        self._changed = changed
        self._seen: dict[str, Mapping[str, Any]] | None = None

    def taken(self) -> Taken | None:
        """What the cluster shows now."""
        if self._seen is None:
            return None
        return Taken(
            {name: replicas_of(item) for name, item in self._seen.items()},
            {name: gpus_of(item) for name, item in self._seen.items()},
        )

    async def follow(self) -> None:
        """Run until cancelled."""
        reachable = True
        while True:
            try:
                version = await self._list()
                if not reachable:
                    _log.warning("the Kubernetes API answers again: the wake guard is in force")
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
                        "the Kubernetes API cannot be read (%s): the wake guard stands aside",
                        describe(problem),
                    )
                reachable = False
                self._seen = None
                self._changed()
                await asyncio.sleep(_RETRY_SECONDS)

    async def _list(self) -> str:
        answer = await self._client.get(
            self._path, params={"labelSelector": MODEL_LABEL}, headers=self._headers(), timeout=10
        )
        answer.raise_for_status()
        document = answer.json()
        self._seen = {_model(item): item for item in document["items"]}
        self._changed()
        return str(document["metadata"]["resourceVersion"])

    async def _watch(self, version: str) -> str:
        params = {
            "labelSelector": MODEL_LABEL,
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
                self._seen.pop(_model(item), None)
            else:
                self._seen[_model(item)] = item
            self._changed()
        version = item.get("metadata", {}).get("resourceVersion")
        return None if version is None else str(version)

    def _headers(self) -> dict[str, str]:
        # Read each time: the kubelet rotates a projected token about every hour.
        return {"authorization": f"Bearer {self._token.read_text().strip()}"}


def describe(problem: Exception) -> str:
    """One short phrase without addresses or headers."""
    if isinstance(problem, httpx.HTTPStatusError):
        return f"status {problem.response.status_code}"
    return type(problem).__name__


def _model(workload: Mapping[str, Any]) -> str:
    return str(workload["metadata"]["labels"][MODEL_LABEL])


def connect(api_server: str | None, account: Path = SERVICE_ACCOUNT) -> httpx.AsyncClient:
    """A client for the given API server, or for the cluster this pod runs in."""
    if api_server is None:
        host = os.environ.get("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc")
        port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
        api_server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    authority = account / "ca.crt"
    verify = ssl.create_default_context(cafile=str(authority) if authority.exists() else None)
    return httpx.AsyncClient(base_url=api_server, verify=verify, trust_env=False)
