"""The models known without a network: every figure of their data files held against their architecture."""

from __future__ import annotations

from pathlib import Path

import pytest

from components.catalog import models
from infra.planner.facts import estimate_weights, presets
from infra.planner.facts.config_json import read
from infra.planner.facts.model_facts import ModelFacts
from infra.planner.sizing import memory
from infra.planner.sizing.memory import GIB, Engine

TEXT = [name for name in presets.names() if (preset := presets.preset(name)) and preset.config is not None]
FAMILIES = {
    *("llama-3.1-8b", "llama-3.1-70b", "llama-3.2-1b", "llama-3.2-3b", "llama-3.3-70b", "mistral-7b"),
    *("mistral-small-24b", "mixtral-8x7b", "gemma-2-9b", "gemma-2-27b", "gemma-3-4b", "gemma-3-12b", "gemma-3-27b"),
    *("qwen2.5-7b", "qwen2.5-32b", "qwen2.5-72b", "qwen2.5-vl-7b", "qwen3-8b", "qwen3-32b", "qwen3-30b-a3b"),
    *("qwen3-235b-a22b", "phi-4", "deepseek-v3", "deepseek-r1", "gpt-oss-20b", "gpt-oss-120b", "flux.1-schnell"),
    *("bge-m3", "qwen3-embedding-0.6b", "smollm2-135m"),
}


def known(name: str) -> ModelFacts:
    model_facts = presets.find(name)
    assert model_facts is not None
    return model_facts


def test_the_popular_families_can_be_planned_without_a_network() -> None:
    assert set(presets.names()) >= FAMILIES


@pytest.mark.parametrize("name", TEXT)
def test_parameters_by_the_architecture_are_the_published_count(name: str) -> None:
    preset = presets.preset(name)
    assert preset is not None
    assert preset.config is not None
    assert preset.parameters is not None
    counted = estimate_weights.parameters(read(preset.config), preset.config).total
    assert counted == preset.parameters  # to the last one; 1 % was asked for


@pytest.mark.parametrize("name", [name for name in TEXT if getattr(presets.preset(name), "tensor_bytes", None)])
def test_bytes_by_the_architecture_are_the_published_bytes(name: str) -> None:
    preset = presets.preset(name)
    assert preset is not None
    assert preset.config is not None
    estimated, _ = estimate_weights.estimate(read(preset.config), preset.config)
    assert estimated.total == pytest.approx(preset.tensor_bytes, rel=1e-6)


@pytest.mark.parametrize("name", presets.names())
def test_every_preset_has_a_full_commit_and_what_the_planner_needs(name: str) -> None:
    facts = known(name)
    assert facts.revision is not None
    assert len(facts.revision) == 40
    assert facts.weights is not None
    assert facts.weights.total > 0
    assert facts.architecture is not None
    assert facts.source.startswith(f"preset {name} (")


def test_deepseek_is_counted_without_the_layer_that_predicts_a_second_token() -> None:
    facts = known("deepseek-v3")
    assert facts.weights is not None
    assert facts.disk_bytes is not None
    # one layer of 11.6e9 parameters, its own embedding and head besides, all of it in the files
    assert 11.6e9 < facts.disk_bytes - facts.weights.total < 16e9
    assert facts.kv[0].divides is False
    assert memory.kv_bytes_per_token(facts) == 61 * 576 * 2


@pytest.mark.parametrize(
    ("name", "active"),
    # as their authors name them: 37 B, 3.3 B (and by count), 22 B, 3.6 B and 5.1 B without the embedding, 13 B
    [
        ("deepseek-v3", 37.55e9),
        ("qwen3-30b-a3b", 3_353_032_704),
        ("qwen3-235b-a22b", 22.19e9),
        ("gpt-oss-20b", 3.6e9 + 201_088 * 2880),
        ("gpt-oss-120b", 5.1e9 + 201_088 * 2880),
        ("mixtral-8x7b", 12.88e9),
    ],
)
def test_a_model_with_experts_computes_with_few_of_them(name: str, active: float) -> None:
    assert known(name).active_parameters == pytest.approx(active, rel=0.02)


def test_windows_and_contexts_are_those_the_engine_takes() -> None:
    expected = {
        "gemma-3-4b": 131_072,  # its linear scaling is in it already
        "gpt-oss-20b": 131_072,
        "deepseek-r1": 163_840,
        "qwen2.5-7b": 32_768,
        "bge-m3": 8192,
    }
    assert {name: known(name).context for name in expected} == expected
    assert [(g.count, g.window) for g in known("gemma-3-27b").kv] == [(10, None), (52, 1024)]
    assert [(g.count, g.window) for g in known("gpt-oss-120b").kv] == [(18, None), (18, 128)]
    assert [(g.count, g.window) for g in known("gemma-2-9b").kv] == [(21, None), (21, 4096)]
    assert known("qwen2.5-7b").kv[0].window is None  # use_sliding_window is false


def test_an_encoder_keeps_no_cache_and_an_image_model_neither() -> None:
    assert known("bge-m3").kv == ()
    assert known("flux.1-schnell").kv == ()


def test_an_image_model_needs_the_card_the_text_names() -> None:
    # seed 001: "Large image generation models such as FLUX.1-schnell require GPUs with 40 GB of VRAM."
    flux = known("flux.1-schnell")
    assert flux.task == "image"
    assert flux.raw["least_card_gb"] == 40
    assert flux.weights is not None
    assert 24 * GIB < flux.weights.total < 40e9


def test_the_smallest_cards_are_those_the_texts_name() -> None:
    # seed 001: "Smaller models, such as Falcon-7B or Llama2-7B, work with an A10 GPU with 24 GB of VRAM.
    # Mixtral-8x7B or Llama2-70B work with 2 A100 GPUs with 80 GB of VRAM each."
    assert memory.plan(known("mistral-7b"), 24 * GIB, Engine(context=8192)).fits
    assert not memory.plan(known("mixtral-8x7b"), 80 * GIB, Engine(context=8192)).fits
    assert memory.plan(known("mixtral-8x7b"), 80 * GIB, Engine(context=8192, tensor_parallel=2)).fits


@pytest.mark.parametrize(
    "called",
    [
        *("llama-3.1-8b", "LLAMA-3.1-8B", " llama-3.1-8b ", "meta-llama/Llama-3.1-8B-Instruct"),
        *("Meta-Llama/llama-3.1-8b-instruct", "Llama-3.1-8B-Instruct", "meta-llama/Meta-Llama-3.1-8B-Instruct"),
    ],
)
def test_a_preset_is_found_by_any_of_its_names_in_any_case(called: str) -> None:
    assert known(called).id == "meta-llama/Llama-3.1-8B-Instruct"


def test_a_misspelled_name_is_not_taken_for_another_model() -> None:
    assert presets.find("lama-3.1-8b") is None
    assert presets.near("lama-3.1-8b")[0] == "llama-3.1-8b"
    assert presets.near("qwen3-8B-base")[0] == "qwen3-8b"
    assert presets.near("entirely different") == ()


def test_no_two_presets_answer_to_one_name() -> None:
    spelled: dict[str, str] = {}
    for name in presets.names():
        preset = presets.preset(name)
        assert preset is not None
        for text in {name.lower(), preset.id.lower(), *(alias.lower() for alias in preset.aliases)}:
            assert spelled.setdefault(text, name) == name


def test_a_data_file_with_a_short_commit_is_refused_by_its_name(tmp_path: Path) -> None:
    good = (models.FOLDER / "phi.yaml").read_text()
    (tmp_path / "phi.yaml").write_text(good.replace("187ef0342fff0eb3333be9f00389385e95ef0b61", "187ef03"))
    with pytest.raises(ValueError, match=r"^phi\.yaml: .*\n?.*models.phi-4.revision"):
        models.read_all(tmp_path)


def test_one_preset_in_two_files_is_refused(tmp_path: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text((models.FOLDER / "phi.yaml").read_text())
    with pytest.raises(ValueError, match=r"b\.yaml: models\.phi-4 is in preset phi-4 \(a\.yaml, .*\) too"):
        models.read_all(tmp_path)


def test_the_catalogue_is_read_once_by_whatever_name_a_model_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    data_file = models.data_file
    monkeypatch.setattr(models, "data_file", lambda file: read.append(file.name) or data_file(file))
    for cached in (models.read_all, models._spelled):
        cached.cache_clear()
    assert models.preset("phi-4") is models.of_model("microsoft/phi-4")
    assert models.names()
    assert sorted(read) == sorted(file.name for file in models.FOLDER.glob("*.yaml"))
