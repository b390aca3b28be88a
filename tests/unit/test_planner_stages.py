"""What one GPU holds of a model that is cut into stages, by arithmetic done by hand."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from infra.planner.facts.model_facts import KvLayers, WeightBytes
from infra.planner.sizing import memory
from infra.planner.sizing.memory import GIB, Engine, largest_stage
from tests.unit.plan_kit import EIGHT, facts, plan

CARD = 80 * GIB


def test_a_whole_model_is_its_only_stage() -> None:
    assert largest_stage(EIGHT, 1) is EIGHT


def test_a_stage_has_its_share_of_layers_and_cache_and_one_embedding() -> None:
    stage = largest_stage(EIGHT, 2)
    assert (stage.layers, [group.count for group in stage.kv]) == (16, [16])
    assert EIGHT.weights is not None
    assert stage.weights is not None
    embedding = 128256 * 4096 * 2
    assert stage.weights.sharded == embedding + -(-(EIGHT.weights.sharded - embedding) * 16 // 32)
    assert stage.weights.kv_sharded == EIGHT.weights.kv_sharded // 2
    # never less than what vLLM puts there: half of the layers, and the embedding or the output layer
    layers = EIGHT.weights.total - 2 * embedding
    assert stage.weights.total >= embedding + layers // 2
    assert stage.weights.total < 0.6 * EIGHT.weights.total


@pytest.mark.parametrize(("layers", "stages", "largest"), [(32, 4, 8), (61, 2, 31), (61, 4, 16), (3, 4, 1)])
def test_layers_left_over_make_a_stage_larger_by_one(layers: int, stages: int, largest: int) -> None:
    cut = largest_stage(facts(num_hidden_layers=layers), stages)
    assert cut.layers == largest
    assert [group.count for group in cut.kv] == [largest]


def test_every_kind_of_cache_is_rounded_up_and_one_head_for_all_stays_whole() -> None:
    mixed = replace(EIGHT, kv=(KvLayers(5, 8, 256), KvLayers(27, 1, 576, divides=False)))
    assert [group.count for group in largest_stage(mixed, 2).kv] == [3, 14]
    assert memory.kv_bytes_per_token(largest_stage(mixed, 2), 8) == (3 * 1 * 256 + 14 * 576) * 2


def test_weights_and_cache_of_a_gpu_are_divided_by_split_times_stages() -> None:
    # 400 GB in 100 layers, without an embedding to speak of: 8 × 2 GPUs hold 25 GB each
    large = replace(
        EIGHT,
        layers=100,
        vocab=0,
        heads=64,
        kv=(KvLayers(100, 8, 256),),
        weights=WeightBytes(400 * 10**9, 0, 0, "preset"),
    )
    engine = Engine(context=8192, sequences=1, tensor_parallel=8, pipeline_parallel=2, eager=True)
    two = memory.plan(large, CARD, engine)
    assert two.weights == 25 * 10**9
    assert two.kv_bytes_per_token == 50 * 1 * 256 * 2
    assert two.needed_for_one == 8192 * 50 * 256 * 2
    one = memory.plan(large, CARD, replace(engine, pipeline_parallel=1))
    assert (one.weights, one.kv_bytes_per_token) == (50 * 10**9, 100 * 256 * 2)
    assert two.kv_free == one.kv_free + 25 * 10**9


def test_gpus_of_two_stages_need_room_to_talk_like_those_of_one_layer() -> None:
    single = Engine(context=8192)
    more = memory.overhead_bytes(EIGHT, replace(single, pipeline_parallel=2)) - memory.overhead_bytes(EIGHT, single)
    assert more == memory.NCCL_BYTES


def test_a_plan_divides_by_the_stack_files_machines(tmp_path: Path) -> None:
    changes = {"pools.eight": {"machine": "p4d.24xlarge", "max": 2}, "guard.maxGpus": 16}
    kept = {"pool": "eight", "gpus": 8, "maxTokens": 4096}
    (one,) = plan(tmp_path, changes=changes, **kept).models
    (two,) = plan(tmp_path, changes=changes, nodes=2, max=1, **kept).models
    assert one.memory is not None
    assert two.memory is not None
    assert two.memory.kv_bytes_per_token == one.memory.kv_bytes_per_token / 2
    stage = largest_stage(EIGHT, 2).weights
    assert stage is not None
    assert two.memory.weights == stage.per_gpu(8, 8)
    assert (two.engine.tensor_parallel, two.engine.pipeline_parallel, two.engine.steps_in_flight) == (8, 2, 3)  # type: ignore[union-attr]


def test_the_heads_are_judged_by_the_split_of_a_layer_and_the_key_that_sets_it(tmp_path: Path) -> None:
    changes = {"pools.eight": {"machine": "p4d.24xlarge", "max": 3}, "guard.maxGpus": 18}
    shape = {"pool": "eight", "gpus": 6, "nodes": 3, "maxTokens": 4096}
    (problem,) = [p for p in plan(tmp_path, changes=changes, **shape).problems if p.code == "EBB028"]
    assert (problem.path, problem.value) == (("models", "eight", "gpus"), 6)
    written = {**shape, "tensorParallel": 9, "pipelineParallel": 2}
    (problem,) = [p for p in plan(tmp_path, changes=changes, **written).problems if p.code == "EBB028"]
    assert (problem.path, problem.value) == (("models", "eight", "tensorParallel"), 9)
    assert problem.fix == "set tensorParallel: 8"
