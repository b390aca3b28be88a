"""A STAND-IN for a cloud's load balancer before the gateway's pods: it hears of a pod that goes later than the cluster.

It opens connections straight to the pods, in turn, and goes on to send new ones to a pod that the cluster has taken
from its endpoints, for as long as a controller and a cloud's API take; what is open then, it leaves alone.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
import time
from collections.abc import Mapping

from lab.machine import forwarder
from tests.lab import network
from tests.lab.conftest import Lab

SLICES = "/apis/discovery.k8s.io/v1/namespaces/ebbtide/endpointslices?labelSelector=kubernetes.io/service-name=gateway"
PORT = 4000


class Balancer:
    """``forgets_after``: seconds between a pod's leaving the endpoints and the last new connection to it. ``late``
    counts the connections opened in that time, ``refused`` those that found nobody.
    """

    def __init__(self, lab: Lab, forgets_after: float) -> None:
        self._lab, self._forgets_after = lab, forgets_after
        self._listener = forwarder.listen(0)
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.late = self.refused = 0
        self._last_ready: Mapping[str, float] = {}
        self._turn = itertools.count()
        self._stop = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._threads = [threading.Thread(target=each, daemon=True) for each in (self._watch, self._serve)]

    def __enter__(self) -> Balancer:
        self._look()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._loop.call_soon_threadsafe(self._loop.stop)
        for thread in self._threads:
            thread.join(timeout=10)
        self._listener.close()

    def _look(self) -> None:
        """Note when each pod was in the endpoints last; what is past the time is forgotten."""
        now = time.monotonic()
        ready = {
            address: now
            for piece in self._lab.get(SLICES)["items"]
            for endpoint in piece["endpoints"]
            if endpoint["conditions"].get("ready")
            for address in endpoint["addresses"]
        }
        kept = {pod: at for pod, at in self._last_ready.items() if now - at < self._forgets_after}
        self._last_ready = kept | ready

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            self._look()

    def _serve(self) -> None:
        """Serve in the machine's network, where pods have addresses; only this thread moves there."""
        network.enter(self._lab.paths)
        asyncio.set_event_loop(self._loop)
        self._loop.create_task(asyncio.start_server(self._connected, sock=self._listener, backlog=512))
        self._loop.run_forever()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.run_until_complete(asyncio.sleep(0))

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        known = self._last_ready
        pod = sorted(known)[next(self._turn) % len(known)]
        self.late += time.monotonic() - known[pod] > 2
        try:
            await forwarder.join(reader, writer, pod, PORT)
        except OSError:
            self.refused += 1
