"""What a quantized checkpoint takes, counted from its configuration alone."""

from __future__ import annotations

from typing import Any

import pytest

from infra.planner.facts import config_json
from infra.planner.facts.config_json import UnreadableConfig
from tests.unit.plan_kit import CONFIG, facts

EMBEDDING_AND_HEAD = 2 * 128_256 * 4096
NORMS = 65 * 4096
LINEAR = 8_030_261_248 - EMBEDDING_AND_HEAD - NORMS


def compressed(**weights: Any) -> dict[str, Any]:
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": {"weights": weights}}}


SETTINGS: dict[str, tuple[dict[str, Any], float]] = {
    "AWQ": ({"quant_method": "awq", "bits": 4, "group_size": 128}, 0.5 + 2.5 / 128),
    "AWQ of small groups": ({"quant_method": "awq", "w_bit": 4, "q_group_size": 64}, 0.5 + 2.5 / 64),
    "GPTQ": ({"quant_method": "gptq", "bits": 4, "group_size": 128}, 0.5 + 2.5 / 128),
    "GPTQ of 8 bits": ({"quant_method": "gptq", "bits": 8, "group_size": 128}, 1 + 3 / 128),
    "GPTQ of 3 bits": ({"quant_method": "gptq", "bits": 3, "group_size": 128}, 0.375 + 2.375 / 128),
    "FP8": ({"quant_method": "fp8"}, 1.0),
    "FP8 in blocks": ({"quant_method": "fp8", "weight_block_size": [128, 128]}, 1 + 4 / 128**2),
    "compressed FP8": (compressed(num_bits=8, type="float", strategy="tensor"), 1.0),
    "compressed 8-bit integers": (compressed(num_bits=8, type="int", strategy="channel"), 1.0),
    "compressed 4-bit groups": (compressed(num_bits=4, type="int", group_size=128), 0.5 + 2 / 128),
    "compressed 4-bit groups with zeros": (
        compressed(num_bits=4, type="int", group_size=128, symmetric=False),
        0.5 + 2.5 / 128,
    ),
    "compressed NVFP4": (compressed(num_bits=4, type="float", group_size=16), 0.5 + 1 / 16),
    "modelopt FP8": ({"quant_method": "modelopt", "quant_algo": "FP8"}, 1.0),
    "modelopt NVFP4": ({"quant_method": "modelopt", "quant_algo": "NVFP4"}, 0.5 + 1 / 16),
    # what does not say its size counts in full, which is never too little
    "compressed and nothing said": ({"quant_method": "compressed-tensors"}, 2.0),
    "one compressed group that does not say": (
        {"quant_method": "compressed-tensors", "config_groups": {"a": {"weights": {"num_bits": 4}}, "b": {}}},
        2.0,
    ),
    "GPTQ without bits": ({"quant_method": "gptq"}, 2.0),
    "a mixture": ({"quant_method": "modelopt", "quant_algo": "MIXED_PRECISION"}, 2.0),
}


@pytest.mark.parametrize("case", SETTINGS)
def test_layers_take_what_their_settings_say_and_embeddings_stay_in_16_bits(case: str) -> None:
    settings, each = SETTINGS[case]
    weights = facts(quantization_config=settings).weights
    assert weights is not None
    assert weights.total == pytest.approx(LINEAR * each + 2 * (EMBEDDING_AND_HEAD + NORMS), abs=4)


def test_the_widest_group_stands_for_all() -> None:
    groups = {"a": {"weights": {"num_bits": 4}}, "b": {"weights": {"num_bits": 8}}}
    weights = facts(quantization_config={"quant_method": "compressed-tensors", "config_groups": groups})
    assert weights.quantization_bits == 8


@pytest.mark.parametrize("settings", ["awq", [1], 4])
def test_settings_that_are_none_are_refused_and_not_left_out(settings: object) -> None:
    with pytest.raises(UnreadableConfig) as refused:
        config_json.read({**CONFIG, "quantization_config": settings})
    assert str(refused.value) == (
        "config.json: quantization_config is no mapping; allowed: the settings of one method, with its quant_method; "
        "fix: fetch the file again"
    )
