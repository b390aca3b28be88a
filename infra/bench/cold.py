"""Wakes of a sleeping model: with the phases of each wake where the cluster can be inspected, else from the request to
the first token."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import httpx

from infra.bench.client import Client, Endpoint, Question
from infra.bench.document import Document, rounded
from infra.bench.statistics import spread
from infra.errors import LocalProblem
from infra.kube_client import api_client
from infra.workspace import Paths
from lab.ask import NAMESPACE, Access, ask
from lab.wake_phases import PHASES

Say = Callable[[str], None]
PROMPT = "What is the capital of France?"
ASLEEP_SECONDS = 900.0
_POLL_SECONDS = 1.0


def steps(passed: dict[str, float]) -> dict[str, float]:
    """Return how long each phase took, from the seconds since the request at which each had passed."""
    durations, before = {}, 0.0
    for name in PHASES:
        if name in passed:
            durations[name] = max(0.0, passed[name] - before)
            before = max(before, passed[name])
    return durations


def wake_summary(rounds: list[dict[str, Any]], complete: bool) -> Document:
    """Return the document's part on the wakes."""
    phases = {name: spread(each["phases"].get(name) for each in rounds) for name in PHASES}
    first = spread(each["first_token"] for each in rounds)
    wakes: Document = rounded(
        {
            "complete": complete,
            "first_token": first and asdict(first),
            "phases": {name: asdict(of) for name, of in phases.items() if of is not None},
            "rounds": rounds,
        },
        3,
    )
    return wakes


class Cold:
    def __init__(self, say: Say) -> None:
        self.rounds: list[dict[str, Any]] = []
        self._say = say

    def local(self, at: Paths, endpoint: Endpoint, count: int) -> None:
        """Wake through the local stack's gateway. Raises ``LocalProblem``."""
        access = Access(endpoint.url, endpoint.key or "", (endpoint.model,))
        for number in range(count):
            self._say(f"  wake {number + 1} of {count}: until {endpoint.model} sleeps")
            until_asleep(at, endpoint.model)
            answer = ask(at, access, endpoint.model, PROMPT, lambda *_: None, lambda _: None, max_tokens=16)
            if answer.first_token is None:
                raise LocalProblem("the wake ended without a token", "see `ebbtide local logs`")
            self._add(number, count, answer.first_token, steps(answer.phases))

    async def elsewhere(self, endpoint: Endpoint, count: int, idle: float, limit: float) -> None:
        """Wake after ``idle`` seconds without a request; whether the model slept then is not known from here. Raises
        ``LocalProblem``."""
        async with Client(endpoint, limit) as client:
            for number in range(count):
                self._say(f"  wake {number + 1} of {count}: nothing asked for {idle:g} s")
                await asyncio.sleep(idle)
                reply = await client.ask(Question(PROMPT, 16, exact=False), number)
                if reply.to_first is None or reply.fault:
                    raise LocalProblem(f"{endpoint.url}: {reply.fault}: {reply.said}", "see that endpoint's log")
                self._add(number, count, reply.to_first, {})

    def _add(self, number: int, count: int, first: float, phases: dict[str, float]) -> None:
        self.rounds.append({"first_token": first, "phases": phases})
        way = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in phases.items())
        self._say(f"  ✓ wake {number + 1} of {count}: first token after {first:.2f} s" + (f" ({way})" if way else ""))


def until_asleep(at: Paths, model: str, seconds: float = ASLEEP_SECONDS) -> None:
    """Wait until the Deployment is at zero and no pod is left, not even a terminating one. Raises ``LocalProblem``."""
    deadline = time.monotonic() + seconds
    with api_client(at) as api:
        while not _asleep(api, model):
            if time.monotonic() > deadline:
                raise LocalProblem(
                    f"{model} does not sleep after {seconds:.0f} s", "somebody asks it, or its min is not 0"
                )
            time.sleep(_POLL_SECONDS)


def _asleep(api: httpx.Client, model: str) -> bool:
    try:
        deployment = api.get(f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{model}")
        pods = api.get(f"/api/v1/namespaces/{NAMESPACE}/pods", params={"labelSelector": f"ebbtide.dev/model={model}"})
    except httpx.HTTPError:
        return False  # a moment without an answer proves nothing
    if deployment.status_code == httpx.codes.NOT_FOUND:
        raise LocalProblem(f"the stack has no model {model}", "`ebbtide local status` lists them")
    if deployment.status_code != httpx.codes.OK or pods.status_code != httpx.codes.OK:
        return False
    return not deployment.json()["spec"].get("replicas", 0) and not pods.json()["items"]
