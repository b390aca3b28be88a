"""Three models before fakes of the interceptor and of Kubernetes, and what a client asks of the gateway's process."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import openai
import pytest

from tests.unit import gateway_kit as kit

KEYS = {"demo": ("sk-demo-secret", "everyone"), "intern": ("sk-intern-secret", "small-only")}
GROUPS = {"everyone": ["*"], "small-only": ["small"]}
HOLD = 3.0
SECRET_PROMPT = "the password of the vault"


def fixtures() -> tuple[Any, Any, Any, Any]:
    """Return the fixtures ``upstream``, ``kube``, ``gateway`` and ``clean``, which resets both fakes for each test."""
    upstream, kube, gateway = kit.fixtures(
        [
            {"name": "small", "host": "small.ebbtide-models", "gpus": 1, "holdSeconds": HOLD, "aliases": ["tiny"]},
            {"name": "twin", "host": "twin.ebbtide-models", "gpus": 1, "holdSeconds": HOLD},
            {"name": "big", "host": "big.ebbtide-models", "gpus": 2, "holdSeconds": HOLD},
            {"name": "vectors", "host": "vectors.ebbtide-models", "gpus": 0, "holdSeconds": HOLD, "task": "embed"},
        ],
        kit.key_file(KEYS, GROUPS),
        replicas={"small": 0, "twin": 0, "big": 0},
        guard={"maxGpus": 2, "whenFull": "wait", "waitLimitSeconds": 3},
        limits={"maxBodyBytes": 100_000, "shutdownSeconds": 5},
    )

    @pytest.fixture(autouse=True)
    def clean(upstream: kit.Upstream, kube: kit.KubeApi, gateway: kit.Gateway) -> None:
        upstream.reset()
        for model in ("small", "twin", "big"):
            kube.scale(model, 0)
            kube.fail(model, None)

    return upstream, kube, gateway, clean


def ask(gateway: kit.Gateway, model: str = "small", key: str = "sk-demo-secret", **more: Any) -> httpx.Response:
    body = {"model": model, "messages": [{"role": "user", "content": SECRET_PROMPT}]} | more
    headers = {"authorization": f"Bearer {key}"} if key else {}
    return httpx.post(gateway.url + "/v1/chat/completions", json=body, headers=headers, timeout=20)


def wake(gateway: kit.Gateway, upstream: kit.Upstream, kube: kit.KubeApi, model: str, gpus: int) -> None:
    """Scale a model up and wait until the gateway has seen it: an awake model's answer names no wait."""
    kube.scale(model, 1, gpus)
    kit.until(lambda: "x-ebbtide-wait-seconds" not in ask(gateway, model).headers, f"{model} seen awake")
    upstream.reset()


def client(gateway: kit.Gateway, key: str = "sk-demo-secret") -> openai.OpenAI:
    return openai.OpenAI(base_url=gateway.url + "/v1", api_key=key, max_retries=0, timeout=20)


def error(response: httpx.Response) -> dict[str, Any]:
    body = response.json()["error"]
    assert {"message", "type", "code"} <= set(body)
    return dict(body)


def failure(seconds: float, reason: str = "weights") -> str:
    """As the wake keeper writes it."""
    now = datetime.now(UTC)
    until = (now + timedelta(seconds=seconds)).isoformat()
    record = {"reason": reason, "message": "its weights are missing", "since": now.isoformat(), "until": until}
    return json.dumps(record | {"failures": 1})
