"""The memory plan beside starts of the engine that people published (``benchmarks/planner_logs.py``)."""

from __future__ import annotations

from functools import cache

import pytest

from benchmarks import fit_table, planner_logs
from benchmarks.planner_logs import Outcome
from components.catalog.gpus import gpus

MOST_PROMISED, MOST_KEPT_FREE = 0.05, 0.15
# the cases that are further off, and always on the safe side but for those whose settings are not the run's
FURTHER_OFF = {
    "gptoss120b-h100-23278": "the run had the engine's default of 1,024 sequences; its cache was negative",
    "gptoss120b-h100-27508": "the run had the engine's default of 1,024 sequences, the case has 256",
    "gptoss120b-h100-27508-1024": "3 % of the card are kept free, since the kernel for MXFP4 is chosen at the start",
    "gptoss120b-h100-1024": "its cache was negative",
    "qwen35-9b-24g-090": "a card with hardly any room: half a GiB is two thirds of it",
    "deepseek-v4-flash-gh200-tp2": "a family that is not read here: EBB262, with 8 % of the card kept free",
    "qwen25-vl-72b-a100-40-tp4": "a card with no room: 0.16 GiB are four times its cache",
}


@cache
def _outcome(name: str) -> Outcome:
    return planner_logs.outcome(name, planner_logs.cases()[name])


NAMES = sorted(planner_logs.cases())


@pytest.mark.parametrize("name", NAMES)
def test_no_start_that_stopped_is_said_to_fit(name: str) -> None:
    outcome = _outcome(name)
    assert not (outcome.stopped and outcome.fits), planner_logs.table([outcome])


@pytest.mark.parametrize("name", [name for name in NAMES if planner_logs.cases()[name]["reported"].get("tokens")])
def test_every_start_that_ran_is_let_be_built(name: str) -> None:
    assert _outcome(name).fits, planner_logs.table([_outcome(name)])


@pytest.mark.parametrize("name", NAMES)
def test_the_cache_is_as_large_as_the_engine_said_or_a_little_smaller(name: str) -> None:
    off = _outcome(name).off
    if off is not None and name not in FURTHER_OFF:
        assert -MOST_KEPT_FREE <= off <= MOST_PROMISED, planner_logs.table([_outcome(name)])


@pytest.mark.parametrize("name", sorted(FURTHER_OFF))
def test_what_is_further_off_is_refused_with_a_finding(name: str) -> None:
    outcome = _outcome(name)
    assert not outcome.fits
    assert {"EBB025", "EBB026", "EBB267"} & set(outcome.codes)


@pytest.mark.parametrize("name", [name for name in NAMES if planner_logs.cases()[name]["reported"].get("conc")])
def test_as_many_sequences_as_the_engine_said_or_a_few_less(name: str) -> None:
    outcome = _outcome(name)
    plan, reported = outcome.model.memory, outcome.reported["conc"]
    assert plan is not None
    assert (1 - MOST_KEPT_FREE) * reported <= plan.sequences <= (1 + MOST_PROMISED) * reported


@pytest.mark.parametrize("name", [name for name in NAMES if "weights_gib" in planner_logs.cases()[name]["reported"]])
def test_weights_on_the_card_are_as_the_engine_said(name: str) -> None:
    outcome = _outcome(name)
    plan = outcome.model.memory
    assert plan is not None
    assert plan.weights / 2**30 == pytest.approx(outcome.reported["weights_gib"], rel=0.02)


def test_the_table_in_the_docs_is_the_command_s() -> None:
    table = planner_logs.table(_outcome(name) for name in planner_logs.cases())
    assert table in planner_logs.RESULTS.read_text()


def test_a_hybrid_with_more_sequences_than_state_blocks_is_told_how_many_would_do() -> None:
    planned = planner_logs.planned(planner_logs.cases()["qwen38-27b-h100-49064"])
    (problem,) = [each for each in planned.problems if each.code == "EBB267"]
    blocks = planned.models[0].memory.state_blocks if planned.models[0].memory else None
    assert blocks is not None
    assert 0 < blocks < 1024
    assert f"set maxSequences: {blocks}" in problem.fix
    fewer = planner_logs.planned({**planner_logs.cases()["qwen38-27b-h100-49064"], "sequences": 64, "tokens": 32768})
    assert not [each for each in fewer.problems if each.code == "EBB267"]


@pytest.mark.parametrize("folder", ["mimo-v2-flash", "deepseek-v4-flash"])
def test_a_pattern_that_is_not_read_counts_every_layer_as_full_attention_and_says_so(folder: str) -> None:
    facts = planner_logs.facts_of({"dir": folder, "model": f"test/{folder}"})
    assert facts.weights is not None
    assert facts.weights.source == "safetensors index"
    assert [(group.count, group.window) for group in facts.kv] == [(facts.layers, None)]
    case = {"model": f"test/{folder}", "dir": folder, "product": "H200", "gpus": 4, "tokens": 4096, "sequences": 16}
    assert "EBB262" in {problem.code for problem in planner_logs.planned(case).problems}


def test_an_indexer_s_keys_are_in_the_cache() -> None:
    facts = planner_logs.facts_of({"dir": "deepseek-v3.2", "model": "test/v3.2"})
    (group,) = facts.kv
    # 1,152 bytes of the latent, 132 of the indexer: both whole on every GPU
    assert group.layer_bytes(8, 2.0) >= 1152 + 132


def test_a_pool_s_own_memory_above_what_cuda_gives_is_a_finding_and_does_not_count() -> None:
    case = {**planner_logs.cases()["qwen3coder30b-l40s-tp4"], "memory": "48Gi"}
    planned = planner_logs.planned(case)
    (problem,) = [each for each in planned.problems if each.code == "EBB268"]
    assert ".".join(map(str, problem.path)) == "pools.gpu-1xl40s.gpu.memory"
    assert planned.pools[0].gpu_bytes == int(44.39 * 2**30)


@pytest.mark.parametrize("name", ["llama-3.1-8b", "gpt-oss-120b", "deepseek-v3"])
def test_the_table_of_what_fits_where_is_the_command_s(name: str) -> None:
    page = fit_table.RESULTS.read_text().splitlines()
    assert {*fit_table.lines(list(gpus()), only=name)} <= {*page}
