"""The command `llm`, with the server among its own ``extra-openai-models.yaml``."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from click.testing import CliRunner
from features import CHAT, ENOUGH, FEW, KEY, PROMPT, URL, Weather, feature, main
from llm.cli import cli

SERVER = {"model_name": CHAT, "api_base": f"{URL}/v1", "api_key_name": "ebbtide"}
MODELS = [
    {"model_id": "chat", "supports_schema": True, "supports_tools": True, **SERVER},
    {"model_id": "responses", "responses": True, **SERVER},
]


def llm(*words: str, max_tokens: int = FEW, model: str = "chat") -> str:
    """What the command prints."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "extra-openai-models.yaml").write_text(json.dumps(MODELS))
        (Path(folder) / "keys.json").write_text(json.dumps({"ebbtide": KEY}))
        argv = ["prompt", PROMPT, "-m", model, "-o", "max_tokens", str(max_tokens), *words]
        done = CliRunner().invoke(cli, argv, env={"LLM_USER_PATH": folder})
        assert done.exit_code == 0, done.output
        return done.stdout.strip()


@feature
def chat() -> None:
    assert llm("--no-stream")


@feature
def stream() -> None:
    assert llm()


@feature
def tools() -> None:
    weather = "def weather(city: str) -> str:\n    'The weather in a city'\n    return 'sun'"
    assert llm("--functions", weather, max_tokens=ENOUGH)


@feature
def json_schema() -> None:
    assert Weather.model_validate_json(llm("--schema", json.dumps(Weather.model_json_schema()), max_tokens=ENOUGH))


@feature
def responses() -> None:
    assert llm(model="responses", max_tokens=16)


main()
