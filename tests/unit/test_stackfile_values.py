"""Units, defaults and the arithmetic that the program takes from a stack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pydantic
import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from components.typed.units import Duration, Quantity
from infra.stackfile import ConfigError, StackConfig, load_file
from infra.workspace import PROJECT

GOOD = Path(__file__).parents[1] / "fixtures/stackfile/Pulumi.good.yaml"


@pytest.fixture(scope="module")
def config() -> StackConfig:
    return load_file(GOOD).config


@pytest.mark.parametrize(("text", "seconds"), [("60s", 60), ("20m", 1200), ("1h", 3600), ("720h", 2_592_000)])
def test_a_duration_is_whole_seconds(text: str, seconds: int) -> None:
    assert Duration.parse(text).seconds == seconds


@given(st.integers(1, 720 * 3600))
def test_a_duration_is_written_as_it_is_read(seconds: int) -> None:
    assert Duration.parse(str(Duration(seconds))) == Duration(seconds)


@pytest.mark.parametrize("text", ["", "m", "1.5h", "1h30m", " 1h", "1 h", "1d", "721h", "0m", "１s", "9" * 5000 + "s"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is "):
        Duration.parse(text)


@pytest.mark.parametrize(
    ("text", "size"), [("80Gi", 80 * 2**30), ("512Mi", 2**29), ("2Ti", 2**41), ("80G", 80 * 10**9)]
)
def test_a_quantity_is_whole_bytes_and_is_written_as_it_is_read(text: str, size: int) -> None:
    assert (Quantity.parse(text).bytes, str(Quantity.parse(text))) == (size, text)


def test_a_model_that_says_little_gets_the_documented_defaults(config: StackConfig) -> None:
    model = config.models["llama-8b"]
    assert (model.name, model.gpus, model.min, model.max) == ("llama-8b", 1, 0, 2)
    assert [str(time) for time in (model.idle_ttl, model.cold_start, model.hold, model.drain)] == [
        "20m",
        "10m",
        "15m",
        "2m",
    ]
    assert (model.max_sequences, model.max_queued, model.concurrency_target) == (16, 32, 16)
    assert (model.gpu_memory_utilization, model.dtype, model.kv_cache) == (0.9, "auto", None)


def test_a_pool_is_labelled_and_tainted_with_its_own_name(config: StackConfig) -> None:
    pool = config.pools[config.models["llama-8b"].pool]
    assert dict(pool.labels) == {"workerType": "gpu_8xa100"}
    assert [(taint.key, taint.value, taint.effect) for taint in pool.taints] == [
        ("workerType", "gpu_8xa100", "NoSchedule")
    ]


@pytest.mark.parametrize(("cold_start", "hold"), [("10s", 60), ("61s", 92), ("10m", 900)])
def test_a_hold_is_half_as_long_again_as_the_load_and_at_least_a_minute(
    tmp_path: Path, cold_start: str, hold: int
) -> None:
    file = tmp_path / "Pulumi.x.yaml"
    file.write_text(GOOD.read_text().replace("maxTokens: 8192", f"maxTokens: 8192\n      coldStart: {cold_start}"))
    assert load_file(file).config.models["llama-8b"].hold.seconds == hold


def test_a_group_may_use_what_it_names(config: StackConfig) -> None:
    local = load_file(Path(__file__).parents[2] / "stacks/Pulumi.local.yaml").config
    allowed = {name: [m for m in local.models if group.may_use(m)] for name, group in local.gateway.groups.items()}
    assert allowed["everyone"] == ["smollm2-135m", "smollm2-135m-b"]
    assert allowed["small-only"] == ["smollm2-135m"]
    assert local.wait_limit(local.models["smollm2-135m"]) == Duration(300)


def test_a_stack_cannot_be_changed(config: StackConfig) -> None:
    with pytest.raises(pydantic.ValidationError):
        config.models["llama-8b"].max = 9  # type: ignore[misc]


@pytest.mark.parametrize("stack", ["aws-dev", "azure-dev", "gcp-dev"])
@pytest.mark.parametrize(
    ("disk", "keys"),
    [
        ({"size": "1Gi", "iops": 1, "throughput": "9000Mi"}, {"size", "iops", "throughput"}),
        ({"size": "1Gi", "iops": "many"}, {"size", "iops"}),
        ({"size": 200, "iops": 1, "throughput": True}, {"size", "iops", "throughput"}),
        ({"size": "x", "iops": 1_000_001, "throughput": "9000Mi"}, {"size", "iops", "throughput"}),
    ],
)
def test_everything_wrong_with_a_disk_is_told_at_once(
    tmp_path: Path, stack: str, disk: dict[str, Any], keys: set[str]
) -> None:
    whole = yaml.safe_load((PROJECT / "stacks" / f"Pulumi.{stack}.yaml").read_text())
    name, pool = next(iter(whole["config"]["ebbtide:pools"].items()))
    pool["disk"] = disk
    file = tmp_path / "Pulumi.x.yaml"
    file.write_text(yaml.safe_dump(whole))
    with pytest.raises(ConfigError) as caught:
        load_file(file)
    assert {each.path.rpartition(".")[2] for each in caught.value.findings if f"{name}.disk" in each.path} == keys


@pytest.mark.parametrize(
    ("text", "size"),
    [("23.6Gi", 24166 * 2**20), ("0.5Gi", 512 * 2**20), ("1.25Ti", 1280 * 2**30), ("79.2G", 79_200 * 10**6)],
)
def test_a_fraction_of_a_gi_is_read_in_whole_mi(text: str, size: int) -> None:
    assert Quantity.parse(text).bytes == size
    assert Quantity.parse(str(Quantity.parse(text))).bytes == size


@pytest.mark.parametrize("text", ["1.5Mi", "1.Gi", ".5Gi", "0.0Gi", "0.0001Gi", "1,5Gi", "1.5"])
def test_a_fraction_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no"):
        Quantity.parse(text)
