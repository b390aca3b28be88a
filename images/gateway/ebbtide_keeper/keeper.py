"""The keeper's loop: looks whenever the cluster changes and once a second, judges, and writes the decision."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import httpx
from ebbtide_kube.api import authorization, deployments, describe, groups, model_of, pods, scaled_objects
from ebbtide_kube.informer import Informer
from ebbtide_kube.wake_failure import failure_in_force

from .decisions import decide, somebody_elses
from .engine_end import ANNOTATION as ENGINE_END
from .engine_end import engine_ended, is_news, last_end, wake_failed
from .groups import Wake, follow, judge_group
from .in_flight import ENGINE_PORT, gateways, url
from .model_state import ModelState, Object, Observation, is_ready, judge
from .settings import Model, Settings
from .wake_phase import notes

_TICK_SECONDS = 1.0
_ALIVE_SECONDS = 30.0
_WITHOUT = "failing wakes are not ended"
_GATEWAY = "app.kubernetes.io/name=gateway"
_log = logging.getLogger("ebbtide.keeper")


class WakeMetrics(Protocol):
    """Metrics sink."""

    def woken(self, model: str) -> None: ...
    def failed(self, model: str, reason: str) -> None: ...
    def state(self, model: str, now: str) -> None: ...


class Keeper:
    """Keeper of one namespace. It keeps no state that it could not do without after a restart."""

    def __init__(
        self,
        settings: Settings,
        client: httpx.AsyncClient,
        token: Path,
        metrics: WakeMetrics,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._settings = settings
        self._client = client
        self._token = token
        self._metrics = metrics
        self._clock = clock
        self._moved = asyncio.Event()
        paths = [make(settings.namespace) for make in (deployments, pods, scaled_objects)]
        self._views = [Informer(client, path, token, self._moved.set, _WITHOUT) for path in paths]
        has_groups = any(model.machines > 1 for model in settings.models)
        # separate: a cluster that serves no such API for a while must not stop the keeping of the others
        self._groups = (
            Informer(client, groups(settings.namespace), token, self._moved.set, _WITHOUT) if has_groups else None
        )
        self._wakes: dict[str, Wake] = {}
        without = "no model is scaled to zero"
        self._gateways = Informer(client, pods(settings.gateway_namespace), token, lambda: None, without, _GATEWAY)
        self._room_since: datetime | None = None
        self._before: dict[str, str] = {}
        self._woken_at: dict[str, datetime] = {}
        self._looked = time.monotonic()

    @property
    def alive(self) -> bool:
        """Return True if the loop still turns. It does so while the API server is away, too."""
        return time.monotonic() - self._looked < _ALIVE_SECONDS

    def engines(self, model: str) -> list[str]:
        """Return the URLs of a model's engines that are ready and not on their way out; none while the pods are
        unknown.
        """
        return [
            url(pod, ENGINE_PORT)
            for pod in (self._views[1].items or {}).values()
            if model_of(pod) == model and is_ready(pod)
        ]

    def pods(self) -> Mapping[str, Object] | None:
        """Return the models' pods by name; None while they are unknown."""
        return self._views[1].items

    def gateways(self) -> list[str] | None:
        """Return the URLs where the gateway's pods serve their metrics; None while they are unknown."""
        items = self._gateways.items
        return None if items is None else gateways(items, self._clock())

    async def run(self) -> None:
        """Run until cancelled."""
        views = [*self._views, self._gateways, *([] if self._groups is None else [self._groups])]
        following = [asyncio.create_task(view.run()) for view in views]
        try:
            while True:
                # not wait_for, which may lose its cancellation when the cluster changes just then (Python 3.11)
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(_TICK_SECONDS):
                        await self._moved.wait()
                self._moved.clear()
                await self.reconcile()
        finally:
            for task in following:
                task.cancel()
            await asyncio.gather(*following, return_exceptions=True)

    async def reconcile(self) -> None:
        """Look at every model once, and act on what is found."""
        listed = [view.items for view in self._views]
        self._looked = time.monotonic()
        if any(workloads is None for workloads in listed):
            return
        targets, running, scaled = (workloads or {} for workloads in listed)
        now = self._clock()
        if any("deletionTimestamp" in pod["metadata"] for pod in running.values()):
            self._room_since = now
        by_model = defaultdict(list)
        for pod in running.values():
            by_model[model_of(pod)].append(pod)
        for model in self._settings.models:
            self._looked = time.monotonic()  # a slow write for one model is no standstill
            workloads = self._group_sets() if model.machines > 1 else targets
            if model.name in workloads and model.name in scaled:
                observation = Observation(workloads[model.name], by_model[model.name], self._room_since)
                try:
                    await self._model(model, observation, scaled[model.name], now)
                except (KeyError, TypeError, ValueError, AttributeError) as problem:
                    # an object of an unexpected shape must not stop the keeping of the others
                    _log.error("model %s cannot be judged: %s", model.name, type(problem).__name__)

    async def _model(self, model: Model, observation: Observation, scaled: Object, now: datetime) -> None:
        annotations = scaled["metadata"].get("annotations") or {}
        doing = self._judge(observation, model, now)
        step = decide(doing, annotations, now)
        self._tell(model.name, doing, annotations, now)
        end = last_end(observation.pods)
        news = end if end is not None and is_news(end, annotations) else None
        wake = (
            {}
            if somebody_elses(annotations)
            else notes(doing, observation.pods, model, annotations, now, self._woken_at.get(model.name))
        )
        changes = {**step.annotations, **wake, **({} if news is None else {ENGINE_END: news.text()})}
        if not changes or not await self._write(scaled, changes):
            return
        if news is not None:
            _log.warning("model %s: %s", model.name, news.sentence())
            await self._event(engine_ended(observation.workload, model.machines > 1, news, time.time_ns()))
        if step.failure is not None:
            self._metrics.failed(model.name, step.failure.reason)
            self._metrics.state(model.name, "held_off")
            _log.warning("wake of %s failed (%s): %s", model.name, step.failure.reason, step.failure.message)
            await self._event(wake_failed(observation.workload, model.machines > 1, step.failure, time.time_ns()))

    def _group_sets(self) -> Mapping[str, Object]:
        return (self._groups.items if self._groups is not None else None) or {}

    def _judge(self, observation: Observation, model: Model, now: datetime) -> ModelState:
        if model.machines == 1:
            return judge(observation, model, now)
        wake = follow(self._wakes.pop(model.name, None), observation, model, now)
        if wake is not None:
            self._wakes[model.name] = wake
        return judge_group(observation, wake, model, now)

    def _tell(self, name: str, doing: ModelState, annotations: Mapping[str, str], now: datetime) -> None:
        if self._before.get(name) == "asleep" and doing.what != "asleep":
            self._metrics.woken(name)
            self._woken_at[name] = now
        if doing.what != "loading":
            self._woken_at.pop(name, None)
        self._before[name] = doing.what
        held_off = doing.what != "ready" and failure_in_force(annotations, now) is not None
        self._metrics.state(name, "held_off" if held_off else doing.what)

    async def _write(self, scaled: Object, annotations: Mapping[str, str | None]) -> bool:
        """Return True if written. Uses optimistic locking; on a conflict the next loop decides again."""
        metadata = {"resourceVersion": scaled["metadata"]["resourceVersion"], "annotations": dict(annotations)}
        path = f"{scaled_objects(self._settings.namespace)}/{scaled['metadata']['name']}"
        return await self._patch(path, metadata, ignored=409)

    async def annotate(self, pod: str, annotations: Mapping[str, str | None]) -> bool:
        """Return True if written to a pod of the models; None removes an annotation."""
        path = f"{pods(self._settings.namespace)}/{pod}"
        return await self._patch(path, {"annotations": dict(annotations)}, ignored=404)

    async def _patch(self, path: str, metadata: dict[str, Any], ignored: int) -> bool:
        headers = {"content-type": "application/merge-patch+json"}
        return await self._send("PATCH", path, {"metadata": metadata}, headers, ignored)

    async def _event(self, event: dict[str, Any]) -> None:
        await self._send("POST", f"/api/v1/namespaces/{self._settings.namespace}/events", event, {})

    async def _send(
        self, method: str, path: str, body: dict[str, Any], headers: dict[str, str], ignored: int | None = None
    ) -> bool:
        try:
            all_headers = {**authorization(self._token), **headers}
            answer = await self._client.request(method, path, json=body, headers=all_headers, timeout=10)
            if answer.status_code == ignored:
                return False
            answer.raise_for_status()
        except (httpx.HTTPError, OSError) as problem:
            _log.warning("%s %s: %s", method, path, describe(problem))
            return False
        return True
