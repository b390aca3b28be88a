"""``ebbtide bench`` through the real gateway (LiteLLM and its front), against the endpoint behind it, in one run."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.bench import command
from infra.bench.options import Options
from tests.gateway_venv import gateway_python
from tests.unit import gateway_kit as kit
from tests.unit.bench_kit import Engine

pytestmark = pytest.mark.slow
KEY = "sk-demo-secret"


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine_made = Engine(first=0.02, per_token=0.005)
    yield engine_made
    engine_made.served.stop()


@pytest.fixture
def gateway(engine: Engine, tmp_path: Path) -> Iterator[kit.Gateway]:
    kube = kit.KubeApi()
    kube.scale("small", 1)
    settings = {
        "interceptorUrl": engine.url,
        "models": [{"name": "small", "host": "small.ebbtide-models", "gpus": 1, "holdSeconds": 5}],
        "guard": {"maxGpus": 2, "whenFull": "wait", "waitLimitSeconds": 3},
        "limits": {"maxBodyBytes": 100_000, "shutdownSeconds": 5},
        "cluster": {"apiServer": kube.served.url},
    }
    folder = tmp_path / "gateway"
    folder.mkdir()
    keys = kit.key_file({"demo": (KEY, "everyone")}, {"everyone": ["*"]})
    started = kit.start(gateway_python(), folder, settings, keys)
    try:
        with kit.serving(started, 120) as ready:
            yield ready
    finally:
        kube.served.stop()


def test_the_gateway_lets_every_part_of_the_question_and_the_answer_through(
    engine: Engine, gateway: kit.Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    file = tmp_path / "result.json"
    options = Options(
        url=gateway.url, key_env="MY_KEY", against=engine.url, against_host_header="small.ebbtide-models",
        concurrency="2", requests=12, input_tokens=40, output_tokens=6, warm_up=2, out=str(file), model="small",
    )  # fmt: skip
    assert command.run(options) == 0
    (level,) = json.loads(file.read_text())["levels"]
    for side in ("measured", "against"):
        of = level[side]
        assert (of["sent"], of["whole"], of["errors"], of["tokens"]) == (12, 12, {}, 72), side
        assert of["prompt_tokens"] == pytest.approx(12 * 40, abs=24), side
        assert of["ttft"]["p50"] >= 0.02
        assert of["tpot"]["p50"] >= 0.004, "the stream came in lumps"
    # which of two processes of one busy machine was later is chance, the difference is not
    added = 1000 * (level["measured"]["ttft"]["p50"] - level["against"]["ttft"]["p50"])
    assert level["ratio"]["ttft_added_ms"]["p50"] == pytest.approx(added, abs=0.01)
    assert all(body["ignore_eos"] and body["min_tokens"] == body["max_tokens"] for body in engine.bodies)
    assert engine.hosts == {"small.ebbtide-models"}
