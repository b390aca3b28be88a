"""A config.json with numbers that no model has is refused by name, before anything is counted with them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from infra.planner.facts import config_json, model_source
from infra.planner.facts.config_json import UnreadableConfig
from infra.planner.facts.estimate_weights import estimate
from tests.unit.fuzz_kit import CONFIGS

LLAMA, LATENT, ENCODER = CONFIGS["grouped queries"], CONFIGS["latent attention"], CONFIGS["an encoder"]
SEEING = CONFIGS["eyes of its own"]


def refusal(config: dict[str, Any]) -> str:
    with pytest.raises(UnreadableConfig) as refused:
        estimate(config_json.read(config), config)
    return str(refused.value)


def test_a_billion_layers_are_refused_before_a_list_is_made_of_them() -> None:
    assert refusal({**LLAMA, "num_hidden_layers": 10**9}) == (
        "config.json: num_hidden_layers is 1000000000, which no model has; allowed: 1..10000; fix: fetch the file again"
    )


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("num_hidden_layers", 0, "is 0, which no model has; allowed: 1..10000"),
        ("hidden_size", -4096, "is -4096, which no model has; allowed: 1..4294967296"),
        ("num_attention_heads", 0, "is 0, which no model has; allowed: 1..1000000"),
        ("num_key_value_heads", 1e308, "is a very large number, which no model has; allowed: 1..1000000"),
        ("vocab_size", 10**400, "is a very large number, which no model has"),
        ("intermediate_size", -1, "is -1, which no model has"),
    ],
)
def test_a_number_that_no_model_has_is_named_with_what_is_allowed(key: str, value: float, message: str) -> None:
    assert refusal({**LLAMA, key: value}).startswith(f"config.json: {key} {message}")


@pytest.mark.parametrize(("key", "value"), [("depth", 10**400), ("patch_size", -14), ("out_hidden_size", 1e308)])
def test_a_number_that_no_vision_tower_has_is_named_as_well(key: str, value: float) -> None:
    seeing = {**SEEING, "vision_config": {**SEEING["vision_config"], key: value}}
    assert refusal(seeing).startswith(f"config.json: {key} is ")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [], "4096", None, True])
def test_a_number_that_is_none_counts_as_not_there(value: object) -> None:
    assert refusal({**LLAMA, "hidden_size": value}) == (
        "config.json has no hidden_size; allowed: a configuration as transformers writes it, with that number; "
        "fix: fetch the file again"
    )


@pytest.mark.parametrize("key", ["qk_nope_head_dim", "qk_rope_head_dim", "v_head_dim", "q_lora_rank", "kv_lora_rank"])
@pytest.mark.parametrize("value", [[], {}, "", None, True])
def test_a_size_of_another_kind_is_left_out_of_the_count_and_never_a_traceback(key: str, value: object) -> None:
    config = {**LATENT, key: value}
    weights, parameters = estimate(config_json.read(config), config)
    assert weights.total > 0
    assert parameters > 0


@pytest.mark.parametrize("key", ["max_position_embeddings", "type_vocab_size"])
def test_an_encoders_positions_of_another_kind_are_left_out(key: str) -> None:
    config = {**ENCODER, key: [512]}
    assert estimate(config_json.read(config), config)[0].total > 0


@pytest.mark.parametrize("factor", [0, -1.0, float("nan"), float("inf"), 10**400])
def test_a_factor_that_stretches_no_positions_is_refused(factor: float) -> None:
    config = {**LLAMA, "rope_scaling": {"rope_type": "dynamic", "factor": factor}}
    assert refusal(config).startswith("config.json: the positions' factor is not one; allowed: a number above 0")


def test_a_configuration_in_a_configuration_in_a_configuration_without_end_is_refused() -> None:
    config: dict[str, Any] = dict(LLAMA)
    for _ in range(400):
        config = {"text_config": config}
    assert "nests one text_config in another" in refusal(config)


@pytest.mark.parametrize("block", [[0, 128], [128], [128, 10**400], "128", [True, "x"]])
def test_blocks_of_scales_that_are_none_add_nothing(block: object) -> None:
    config = {**LATENT, "quantization_config": {"quant_method": "fp8", "weight_block_size": block}}
    weights, parameters = estimate(config_json.read(config), config)
    assert weights.total <= 2 * parameters


@pytest.mark.parametrize("index", [{"weight_map": []}, {"metadata": [1]}, {"weight_map": "a"}])
def test_an_index_of_weight_files_that_is_none_is_named(tmp_path: Path, index: object) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA))
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(UnreadableConfig, match=r"model\.safetensors\.index\.json is no index of weight files"):
        model_source.resolve(str(tmp_path))


def test_half_a_letter_in_a_configuration_is_refused_and_never_printed(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"architectures": ["\\ud800"], "hidden_size": 384}')
    with pytest.raises(UnreadableConfig, match="cannot be read as JSON"):
        model_source.from_folder(tmp_path)
