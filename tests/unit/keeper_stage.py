"""The keeper's loop in a thread of its own, whose clock a test turns, against a fake of the cluster's API."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from tests.unit import gateway_kit, keeper_kit
from tests.unit.keeper_kit import NOON, on_node, running

from ebbtide_kube.api import connect  # isort: skip
from ebbtide_kube.wake_failure import ANNOTATION  # isort: skip
from ebbtide_keeper.keeper import Keeper  # isort: skip
from ebbtide_keeper.settings import Model, Settings  # isort: skip

PAUSE = "autoscaling.keda.sh/paused-replicas"


class Told:
    def __init__(self) -> None:
        self.wakes: list[str] = []
        self.failures: list[tuple[str, str]] = []
        self.states: dict[str, str] = {}

    def woken(self, model: str) -> None:
        self.wakes.append(model)

    def failed(self, model: str, reason: str) -> None:
        self.failures.append((model, reason))

    def state(self, model: str, now: str) -> None:
        self.states[model] = now


class Stage:
    """A keeper in a thread of its own, whose clock the test turns."""

    def __init__(self, kube: gateway_kit.KubeApi, token: Path, machines: int = 1) -> None:
        self.kube, self.told, self.now = kube, Told(), NOON
        self._token, self._machines = token, machines
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self.start()

    def start(self) -> None:
        """A new process as far as anybody can tell."""
        models = (Model(name="small", holdSeconds=90, coldStartSeconds=60, machines=self._machines),)
        settings = Settings(models=models, apiServer=self.kube.served.url)

        async def begin() -> None:
            client = connect(self.kube.served.url, self._token.parent)
            self.keeper = Keeper(settings, client, self._token, self.told, lambda: self.now)
            self._running = asyncio.create_task(self.keeper.run())

        asyncio.run_coroutine_threadsafe(begin(), self._loop).result(5)

    def end(self) -> None:
        async def cancel() -> None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

        asyncio.run_coroutine_threadsafe(cancel(), self._loop).result(5)

    def close(self) -> None:
        self.end()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5)

    def later(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)

    @property
    def annotations(self) -> dict[str, str]:
        return dict(self.kube.kinds["scaledobjects"]["small"]["metadata"]["annotations"])

    @property
    def until(self) -> datetime:
        return datetime.fromisoformat(json.loads(self.annotations[ANNOTATION])["until"])

    def pod(self, container: dict[str, Any], ready: tuple[str, float] = ("False", 1)) -> None:
        self.kube.put("pods", on_node(container, ready=ready))
        self.kube.put("deployments", keeper_kit.deployment(1))

    def asleep(self) -> None:
        """What KEDA makes of a pause at zero."""
        self.kube.put("deployments", keeper_kit.deployment(0))
        self.kube.put("pods", on_node(running()), "DELETED")

    def sees(self, state: str) -> None:
        gateway_kit.until(lambda: self.told.states.get("small") == state, f"state {state}")

    def two_ticks(self) -> None:
        time.sleep(2.2)
