"""vLLM's plugin that finds adapters by name in the store, with a stand-in for vLLM's own classes."""

from __future__ import annotations

import asyncio
import json
import runpy
import sys
from importlib.metadata import PathDistribution
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from infra.workspace import PROJECT
from tests.unit.gateway_kit import until
from tests.unit.serve_kit import serve

PLUGINS = PROJECT / "images" / "vllm" / "plugins"
SETTINGS = {"model": "small", "base": "acme/small", "rank": 16}
CONFIG = {"r": 8, "base_model_name_or_path": "acme/small"}


def plugin() -> dict[str, Any]:
    return runpy.run_path(str(PLUGINS / "ebbtide_adapters.py"))


def stored(folder: Path, **config: Any) -> Path:
    home = folder / "legal"
    home.mkdir(parents=True)
    (home / "adapter_config.json").write_text(json.dumps({**CONFIG, **config}))
    (home / "adapter_model.safetensors").write_bytes(b"x")
    return home


def resolver(monkeypatch: pytest.MonkeyPatch, folder: str) -> Any:
    """What the plugin registers with vLLM, by the entry point that vLLM looks for."""
    registered: dict[str, Any] = {}
    request = SimpleNamespace(LoRARequest=lambda *parts: parts)
    registry = SimpleNamespace(register_resolver=registered.__setitem__)
    resolvers = SimpleNamespace(LoRAResolver=object, LoRAResolverRegistry=registry)
    for name, module in {"vllm": object(), "vllm.lora": object(), "vllm.lora.request": request}.items():
        monkeypatch.setitem(sys.modules, name, module)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "vllm.lora.resolver", resolvers)  # type: ignore[arg-type]
    monkeypatch.setenv("EBBTIDE_ADAPTERS", json.dumps({**SETTINGS, "folder": folder}))
    (point,) = PathDistribution(PLUGINS / "ebbtide_adapters-1.dist-info").entry_points
    assert (point.group, point.module) == ("vllm.general_plugins", "ebbtide_adapters")
    plugin()[point.attr]()
    (resolver_found,) = registered.values()
    return resolver_found


def resolved(plugin: Any, name: str) -> Any:
    return asyncio.run(plugin.resolve_lora("/models/small", name))


def test_an_adapter_is_found_by_its_name_in_the_stores_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = stored(tmp_path)
    plugin = resolver(monkeypatch, str(tmp_path))
    assert resolved(plugin, "small/legal") == ("small/legal", 1, str(home))
    for name in ("legal", "other/legal", "small/sales", "small/../legal", "small/", f"small/{tmp_path}/legal"):
        assert resolved(plugin, name) is None, name


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ({"base_model_name_or_path": "acme/other"}, "was trained for 'acme/other', and this model is 'acme/small'"),
        ({"r": 17}, "has rank 17, allowed is 16"),
        ({"rank_pattern": {"q_proj": 64}}, "has rank 64"),
        ({"r": None}, "says its rank and base"),
    ],
)
def test_another_base_or_a_rank_too_high_is_refused(tmp_path: Path, config: dict[str, Any], words: str) -> None:
    stored(tmp_path, **config)
    with pytest.raises(ValueError, match=words):
        plugin()["folder_of"]({**SETTINGS, "folder": str(tmp_path)}, "small/legal")


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    (stored(tmp_path) / "adapter_model.safetensors").rename(tmp_path / "legal" / "adapter_model.bin")
    with pytest.raises(ValueError, match="a pickle"):
        plugin()["folder_of"]({**SETTINGS, "folder": str(tmp_path)}, "small/legal")


@pytest.mark.parametrize(("status", "is_there"), [(0, True), (1, False)])
def test_one_in_a_bucket_is_copied_first(tmp_path: Path, status: int, is_there: bool) -> None:
    copies = tmp_path / "copies"
    stored(copies)
    copy = tmp_path / "copy.py"
    words = ["s3://b/small/legal", str(copies / "legal")]
    copy.write_text(f"def main(words):\n    assert words == {words}\n    return {status}\n")
    folder_of = plugin()["folder_of"]
    folder_of.__globals__.update(COPY=str(copy), COPIES=str(copies))
    place = folder_of({**SETTINGS, "folder": "s3://b/small"}, "small/legal")
    assert place == (copies / "legal" if is_there else None)


def test_vllms_own_ways_to_load_from_anywhere_are_closed() -> None:
    sent: list[Any] = []

    async def app(scope: Any, _: Any, send: Any) -> None:
        await send(scope["path"])

    async def send(message: Any) -> None:
        sent.append(message.get("status") if isinstance(message, dict) else message)

    closed = plugin()["Closed"](app)
    for path in ("/v1/load_lora_adapter", "/v1/unload_lora_adapter/", "/adapters", "/v1/chat/completions", "/health"):
        asyncio.run(closed({"type": "http", "path": path}, None, send))
    assert [each for each in sent if each is not None] == [404, 404, 404, "/v1/chat/completions", "/health"]


@pytest.mark.parametrize("theirs", [None, "own"])
def test_the_entry_point_opens_the_engine_to_names_and_closes_its_paths_with_that(
    tmp_path: Path, theirs: str | None
) -> None:
    engine = (
        "import json, os, pathlib, sys\n"
        "names = ('PYTHONPATH', 'VLLM_ALLOW_RUNTIME_LORA_UPDATING', 'VLLM_PLUGINS')\n"
        "told = {'words': sys.argv[1:], **{name: os.environ.get(name) for name in names}}\n"
        "pathlib.Path('told.part').write_text(json.dumps(told))\npathlib.Path('told.part').rename('told')\n"
    )
    more = {} if theirs is None else {"VLLM_PLUGINS": theirs, "PYTHONPATH": "/start"}
    serving = serve(tmp_path, engine, "--port", "1", EBBTIDE_ADAPTERS="{}", EBBTIDE_PLUGINS=str(PLUGINS), **more)
    until((tmp_path / "told").exists, "the engine runs")
    assert serving.wait(10) == 0
    assert json.loads((tmp_path / "told").read_text()) == {
        "words": ["--port", "1", "--middleware", "ebbtide_adapters.Closed"],
        "PYTHONPATH": str(PLUGINS) if theirs is None else f"{PLUGINS}:/start",
        "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1",
        "VLLM_PLUGINS": None if theirs is None else "own,ebbtide_adapters",
    }
