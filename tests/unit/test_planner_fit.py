"""``ebbtide fit``: somebody choosing hardware gets the same arithmetic as a plan."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.catalog.gpus import gpus
from components.catalog.machines import machines
from infra.commands.fit import answered, run
from infra.commands.options import FitOptions
from infra.errors import UsageError
from infra.planner.facts import presets
from infra.planner.fit_answer import Question, answer, as_json
from infra.planner.sizing.fit import Named, WrongChoice, cards
from infra.planner.sizing.memory import kv_bytes_per_token
from tests.unit.plan_kit import CONFIG, EIGHT, facts

KEYS = {
    *("fits", "reason", "weights_bytes", "weights_bytes_per_gpu", "kv_bytes_per_token", "kv_bytes_per_token_per_gpu"),
    *("max_context_tokens", "sequences_at_context", "tensor_parallel", "machine", "usd_per_hour", "findings"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def fit(folder: Path, **named: Any) -> dict[str, Any]:
    return as_json(answered(FitOptions(model=str(folder), **named)))


def test_a_folder_with_a_configuration_alone_is_enough(folder: Path) -> None:
    read = fit(folder, gpu="A10G")
    assert set(read) >= KEYS
    assert read["fits"]
    assert read["weights_bytes"] == 2 * 8_030_261_248
    assert read["weights_from"] == "architecture"
    assert (read["kv_bytes_per_token"], read["kv_bytes_per_token_per_gpu"]) == (131072, 131072)
    assert (read["machine"], read["usd_per_hour"]) == ("g5.2xlarge", 1.212)
    assert read["sequences_at_context"] >= 1
    assert read["max_batched_tokens"] == 2048  # the engine's own for such a card
    assert read["max_context_tokens"] > read["context_tokens"] == 8192


def test_all_the_gpus_that_are_asked_for_are_used(folder: Path) -> None:
    read = fit(folder, gpu="A10G", gpus=4)
    assert read["tensor_parallel"] == 4
    assert (read["kv_bytes_per_token"], read["kv_bytes_per_token_per_gpu"]) == (131072, 32768)
    assert read["weights_bytes"] / 4 <= read["weights_bytes_per_gpu"] < read["weights_bytes"] / 3.9


def test_gpus_that_would_idle_are_told(folder: Path) -> None:
    read = fit(folder, gpu="A10G", gpus=3)
    assert (read["tensor_parallel"], [f["code"] for f in read["findings"]]) == (2, ["EBB261"])
    assert fit(folder, gpu="A10G", gpus=4)["findings"] == []


def test_heads_that_are_copied_count_on_every_gpu(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({**CONFIG, "num_key_value_heads": 2}))
    read = fit(folder, gpu="H100", tensor_parallel=8)
    assert read["kv_bytes_per_token_per_gpu"] == kv_bytes_per_token(facts(num_key_value_heads=2), 8)
    assert read["kv_bytes_per_token"] == 8 * read["kv_bytes_per_token_per_gpu"] == 4 * 32768 * 1.0


def test_concurrency_means_that_many_whole_sequences(folder: Path) -> None:
    one = fit(folder, gpu="A10G", gpus=1)
    held = one["sequences_at_context"]
    assert fit(folder, gpu="A10G", gpus=1, concurrency=held)["fits"]
    more = fit(folder, gpu="A10G", gpus=1, concurrency=held + 1)
    assert not more["fits"]
    assert [f["code"] for f in more["findings"]] == ["EBB260"]
    assert f"{held + 1} sequences of 8,192 tokens do not fit at once, {held} would" in more["reason"]
    assert fit(folder, gpu="A10G", concurrency=held + 1)["tensor_parallel"] > 1
    # and of a machine as many GPUs are used as these sequences take
    assert fit(folder, machine="g5.12xlarge", concurrency=held)["tensor_parallel"] == 1
    wider = fit(folder, machine="g5.12xlarge", concurrency=held + 1)
    assert (wider["fits"], wider["tensor_parallel"]) == (True, 2)


def test_bfloat16_on_a_card_that_has_none_does_not_fit_without_a_word(folder: Path) -> None:
    read = fit(folder, gpu="T4", gpus=2)
    assert not read["fits"]
    assert "EBB030" in [f["code"] for f in read["findings"]]
    assert fit(folder, gpu="T4", gpus=2, dtype="float16")["fits"]


def test_a_longer_context_than_the_models_own_does_not_fit(folder: Path) -> None:
    read = fit(folder, gpu="B300", context=131073)
    assert not read["fits"]
    assert "EBB027" in [f["code"] for f in read["findings"]]


def test_a_split_that_does_not_divide_the_heads_is_refused_with_those_that_do(folder: Path) -> None:
    read = fit(folder, gpu="A10G", tensor_parallel=3)
    assert not read["fits"]
    assert [f["allowed"] for f in read["findings"] if f["code"] == "EBB028"] == ["1, 2, 4, 8, 16, 32"]


def test_the_cheapest_machine_of_a_cloud_is_taken_and_others_follow_by_price(folder: Path) -> None:
    read = fit(folder, cloud="aws", region="us-east-1")
    prices = [read["usd_per_hour"], *(each["usd_per_hour"] for each in read["alternatives"])]
    assert None not in prices
    assert prices == sorted(prices)
    assert all(each["cloud"] == "aws" for each in read["alternatives"])
    # T4 machines are cheaper, and cannot compute bfloat16
    assert read["gpu"] != "T4"


def test_an_unknown_price_is_a_finding_and_no_number(folder: Path) -> None:
    read = fit(folder, gpu="RTX-PRO-4500", gpus=1)
    if read["usd_per_hour"] is None:
        assert "EBB259" in [f["code"] for f in read["findings"]]
    assert fit(folder, machine="g5.xlarge", region="eu-west-9")["usd_per_hour"] is None


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ({"gpu": "H101"}, "did you mean H100?"),
        ({"machine": "g5.9xlarge"}, "g5.8xlarge"),
        ({"cloud": "awz"}, "allowed: aws, azure, gcp; fix: did you mean aws?"),
        ({"gpu": "H100", "machine": "g5.xlarge"}, "--gpu and --machine name hardware twice"),
        ({"machine": "g5.xlarge", "gpus": 2}, "2 is more than g5.xlarge has; allowed: 1..1"),
        ({"cloud": "aws", "gpus": 40}, "no machine of the catalogue has 40 GPUs"),
    ],
)
def test_hardware_nobody_has_is_told_with_what_is_near(named: dict[str, Any], message: str) -> None:
    with pytest.raises(WrongChoice, match=re.escape(message)):
        cards(Named(**named))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (FitOptions(model="llama-3.1-8c"), "llama-3.1-8b"),
        (FitOptions(model="./nowhere"), "is not there"),
        (FitOptions(model="llama-3.1-8b", context=0), "--context: 0 is out of range"),
        (FitOptions(model="llama-3.1-8b", concurrency=-1), "--concurrency: -1 is out of range"),
        (FitOptions(model="llama-3.1-8b", memory_share=1.5), "--memory-share: 1.5 is not a share"),
        (FitOptions(model="llama-3.1-8b", gpus=2, tensor_parallel=4), "--tp: 4 is more than --gpus 2"),
    ],
)
def test_wrong_usage_is_told_and_never_a_traceback(
    options: FitOptions, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(options) == 2
    assert message in capsys.readouterr().err


def test_a_folder_without_or_with_a_broken_configuration_is_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no config\.json"):
        answered(FitOptions(model=str(tmp_path)))
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(UsageError, match="cannot be read as JSON"):
        answered(FitOptions(model=str(tmp_path)))
    (tmp_path / "config.json").write_text('{"architectures": ["X"]}')
    with pytest.raises(UsageError, match=r"config\.json has no"):
        answered(FitOptions(model=str(tmp_path)))


@pytest.mark.parametrize(
    "strange",
    [
        {"hidden_size": 2},
        {"num_hidden_layers": 0},
        {"num_hidden_layers": 1e30},
        {"kv_lora_rank": 7, "qk_rope_head_dim": [1]},
        {"vocab_size": "many"},
        {"num_attention_heads": 0},
        {"quantization_config": {"quant_method": 3, "weight_block_size": [0, 0]}},
        {"text_config": {"num_hidden_layers": {}}},
    ],
)
def test_a_strange_configuration_is_an_answer_or_wrong_usage(
    folder: Path, strange: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "config.json").write_text(json.dumps({**CONFIG, **strange}))
    for form in ("json", "text"):
        assert run(FitOptions(model=str(folder), gpu="A10G", format=form)) in (0, 1, 2)
    assert capsys.readouterr()


def test_text_of_a_configuration_moves_no_cursor(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    strange = {"architectures": ["\x1b[2J\x07X"], "model_type": "\x1b[31m", "_name_or_path": "\x1b]0;title\x07"}
    (folder / "config.json").write_text(json.dumps({**CONFIG, **strange}))
    assert run(FitOptions(model=str(folder), gpu="A10G")) == 1
    shown = capsys.readouterr().out
    assert "is of architecture ?[2J?X" in shown
    assert not {"\x1b", "\x07"} & set(shown)


def test_what_the_engine_refuses_is_shown_on_the_fewest_cards_that_would_hold_it(folder: Path) -> None:
    read = fit(folder, gpu="T4")
    assert (read["fits"], read["tensor_parallel"], read["machine"]) == (False, 2, "g4dn.12xlarge")


def test_a_cache_type_the_card_has_no_kernel_for_does_not_fit(folder: Path) -> None:
    read = fit(folder, gpu="T4", gpus=2, dtype="float16", kv_dtype="fp8")
    assert not read["fits"]
    assert [(f["code"], f["path"]) for f in read["findings"]] == [("EBB263", "--kv-dtype")]


def test_an_image_model_has_no_context() -> None:
    assert as_json(answered(FitOptions(model="flux.1-schnell")))["max_context_tokens"] is None


def test_a_model_that_no_engine_here_serves_does_not_fit_whatever_the_card(capsys: pytest.CaptureFixture[str]) -> None:
    unserved = [
        name for name in presets.names() if (known := presets.preset(name)) and known.task in ("image", "other")
    ]
    assert "flux.1-schnell" in unserved
    for name in unserved:
        assert run(FitOptions(model=name, gpu="H200")) == 1
        assert "no engine here serves that" in " ".join(capsys.readouterr().out.split())


def test_status_is_whether_it_fits(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(FitOptions(model=str(folder), gpu="A10G", format="json")) == 0
    assert json.loads(capsys.readouterr().out)["fits"]
    assert run(FitOptions(model=str(folder), gpu="L4", gpus=1, context=100_000)) == 1
    assert "DOES NOT FIT" in capsys.readouterr().out


@pytest.mark.parametrize("preset", ["llama-3.1-70b", "deepseek-v3", "bge-m3", "gpt-oss-20b", "gemma-3-4b"])
def test_every_kind_of_preset_has_an_answer(preset: str) -> None:
    read = as_json(answered(FitOptions(model=preset)))
    assert read["fits"]
    assert read["machine"]


Ask = Callable[..., Any]


def ask(context: int, concurrency: int, gpu: str, count: int, kv: str) -> Any:
    question = Question(context=context, concurrency=concurrency, kv_dtype=kv, gpus_named=True)
    return answer(EIGHT, cards(Named(gpu=gpu, gpus=count)), question)


@settings(max_examples=3 * settings.default.max_examples // 2)
@given(
    context=st.integers(16, 131_000), more=st.integers(0, 40_000), concurrency=st.integers(1, 200),
    gpu=st.sampled_from(sorted(set(gpus()) - {"T4"})), count=st.sampled_from([1, 2, 4]),
)  # fmt: skip
def test_more_is_never_easier(context: int, more: int, concurrency: int, gpu: str, count: int) -> None:
    """What fits with a longer context or more sequences fits with less; what fits on fewer GPUs fits on more; a smaller
    cache type never takes away."""
    longer = ask(min(131_072, context + more), concurrency, gpu, count, "auto")
    if longer.fits:
        assert ask(context, concurrency, gpu, count, "auto").fits
        assert ask(context, 1, gpu, count, "auto").fits
        assert ask(context, concurrency, gpu, count, "fp8").fits
        assert ask(context, concurrency, gpu, 2 * count, "auto").fits


def test_every_machine_of_the_catalogue_can_be_asked_by_name(folder: Path) -> None:
    for place in ("aws", "azure", "gcp"):
        for name in machines(place):
            assert fit(folder, machine=name)["machine"] == name


def test_a_machine_too_small_to_load_the_model_is_no_answer(folder: Path) -> None:
    # 15 GiB of weights pass through the main memory of a machine that has 16
    small = fit(folder, machine="g5.xlarge")
    assert small["fits"]
    assert "EBB269" in {finding["code"] for finding in small["findings"]}
    named = fit(folder, cloud="aws")
    assert "EBB269" not in {finding["code"] for finding in named["findings"]}
    assert machines("aws")[named["machine"]].memory_gib >= 32


def test_a_part_of_a_card_is_asked_by_its_machine_and_never_stands_for_the_card(folder: Path) -> None:
    half = fit(folder, machine="Standard_NV18ads_A10_v5")
    assert not half["fits"]
    assert half["gpu_bytes"] < 12 * 2**30
    whole = fit(folder, gpu="A10")
    assert whole["fits"]
    assert whole["machine"] == "Standard_NV36ads_A10_v5"
