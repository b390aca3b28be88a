"""A streamed request held for a wake, behind a real proxy that cuts what is silent. The engine is a stand-in."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web

from tests.gateway_venv import gateway_python
from tests.unit import gateway_kit as kit
from tests.unit import nginx

from ebbtide_kube.wake_progress import ANNOTATION as WAKE  # isort: skip
from ebbtide_kube.wake_progress import WakeProgress  # isort: skip

pytestmark = pytest.mark.slow

KEY = "sk-demo-secret"
BODY = {"model": "small", "messages": kit.HI, "stream": True}
COMMENT = re.compile(r": ebbtide phase=([a-z-]+) seconds=[0-9]+ estimate=([0-9]+|unknown)\n\n")


@dataclass(frozen=True)
class Times:
    """In seconds: the proxy's limit, how long the model takes to wake, how often a comment is sent."""

    idle: int
    wake: int
    comment: int


def wakes_after(seconds: float, kube: kit.KubeApi) -> kit.Behaviour:
    """What the interceptor does with a model that takes so long: a pod waits for its node, then all is there."""

    async def behaviour(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        await asyncio.to_thread(kube.scale, "small", 1, ready=0)
        now = datetime.now(UTC)
        annotations = {WAKE: WakeProgress("node", now, now).text()}
        metadata = {"name": "small", "labels": {"ebbtide.dev/model": "small"}, "annotations": annotations}
        await asyncio.to_thread(kube.put, "scaledobjects", {"metadata": metadata})
        await asyncio.sleep(seconds)
        await asyncio.to_thread(kube.scale, "small", 1)
        return await kit.says(200, "")(request, body)

    return behaviour


@contextlib.contextmanager
def gateway_behind_nginx(folder: Path, times: Times, comment: int | None) -> Iterator[str]:
    folder.mkdir()
    model = {"name": "small", "host": "small.ebbtide-models", "gpus": 1, "holdSeconds": 600}
    model["wakeSeconds"] = {"node": 90, "image": 1, "engine": 50}
    with kit.stopping(kit.Upstream()) as upstream, kit.stopping(kit.KubeApi()) as kube:
        kube.scale("small", 0)
        upstream.knock_script = [wakes_after(times.wake, kube)]
        limits = {} if comment is None else {"silenceSeconds": comment}
        settings = kit.settings_of(upstream, kube, [model], limits=limits)
        keys = kit.key_file({"demo": (KEY, "everyone")}, {"everyone": ["*"]})
        with (
            kit.serving(kit.start(gateway_python(), folder, settings, keys)) as gateway,
            nginx.before(gateway.url, times.idle, folder / "nginx") as url,
        ):
            yield url


def asked(url: str) -> tuple[int, httpx.Headers, str, float]:
    """Status, headers, body, seconds."""
    began = time.monotonic()
    headers = {"authorization": f"Bearer {KEY}"}
    answer = httpx.post(url + "/v1/chat/completions", json=BODY, headers=headers, timeout=600, trust_env=False)
    return answer.status_code, answer.headers, answer.text, time.monotonic() - began


@pytest.mark.parametrize(
    "times",
    [
        pytest.param(Times(idle=4, wake=9, comment=1), id="scaled down"),
        pytest.param(
            Times(idle=60, wake=150, comment=10),
            id="as in life",
            marks=pytest.mark.skipif(
                not os.environ.get("EBBTIDE_LONG"), reason="takes 150 s of waiting; EBBTIDE_LONG=1 asks for it"
            ),
        ),
    ],
)
def test_a_stream_held_longer_than_the_proxy_bears_is_answered_and_without_comments_cut(
    times: Times, tmp_path: Path
) -> None:
    nginx.program()
    with (
        gateway_behind_nginx(tmp_path / "on", times, times.comment) as commented,
        gateway_behind_nginx(tmp_path / "off", times, None) as silent,
        ThreadPoolExecutor() as pool,
    ):
        on, off = pool.map(asked, (commented, silent))
    status, headers, text, seconds = on
    assert (status, headers["x-ebbtide-woken"]) == (200, "true")
    assert seconds >= times.wake > times.idle
    comments = COMMENT.findall(text)
    assert ("node", "141") in comments
    assert len(comments) >= times.wake // times.idle
    events = [line.removeprefix("data: ") for line in COMMENT.sub("", text).split("\n\n") if line]
    assert events[-1] == "[DONE]"
    assert "".join(json.loads(event)["choices"][0]["delta"]["content"] for event in events[:-1]) == "01234"
    status, _, text, seconds = off
    assert status == 504, text
    assert "nginx" in text
    assert times.idle <= seconds < times.wake
