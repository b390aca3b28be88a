"""The libraries that people use, with all of their features, against the gateway's own process with a stand-in engine
behind it. ``tests/lab/test_clients.py`` asks vLLM.
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from tests.clients.programs import CLIENTS, Client
from tests.clients.stand_in import answers
from tests.unit import gateway_kit as kit

pytestmark = pytest.mark.slow

KEY = "sk-demo-secret"
MODELS = {"chat": "small", "embed": "vectors", "transcribe": "ears"}
SILENCE = 0.2


upstream, kube, gateway = kit.fixtures(
    [
        {"name": name, "host": f"{name}.ebbtide-models", "gpus": 1, "holdSeconds": 30, "task": task}
        for task, name in MODELS.items()
    ],
    kit.key_file({"demo": (KEY, "everyone")}, {"everyone": ["*"]}),
    replicas=dict.fromkeys(MODELS.values(), 0),
    otherwise=answers,
    limits={"silenceSeconds": SILENCE},
)


async def held(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """What the interceptor does while a model wakes: here for as long as some comments take."""
    await asyncio.sleep(4 * SILENCE)
    return await kit.says(200, "")(request, body)


def each_client() -> list[Any]:
    no_node = pytest.mark.skipif(shutil.which("npm") is None, reason="no Node.js here")
    return [
        pytest.param(client, id=client.title, marks=[no_node] if client.language == "JavaScript" else [])
        for client in CLIENTS
    ]


@pytest.mark.parametrize("client", each_client())
def test_a_client_has_all_its_features(client: Client, gateway: kit.Gateway, tmp_path: Path) -> None:
    features = (*client.warm, *client.stand_in)
    wrong = client.run(features, tmp_path / "run", gateway.url, KEY, **MODELS)
    assert wrong == dict.fromkeys(features)


@pytest.mark.parametrize("client", [each for each in each_client() if "stream" in each.values[0].warm])
def test_a_client_passes_over_the_comments_of_a_held_stream(
    client: Client, gateway: kit.Gateway, upstream: kit.Upstream, tmp_path: Path
) -> None:
    upstream.knock_script = [held]
    began = len(upstream.knocks)
    assert client.run(("stream",), tmp_path / "run", gateway.url, KEY, **MODELS) == {"stream": None}
    assert len(upstream.knocks) > began, "it was held"
