"""What a plan says of a stack before anything of it exists."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from components.catalog.machine import UNKNOWN_SHARE
from components.platforms import kinds
from components.platforms.kinds import KINDS, Kind
from infra.planner.plan import plan_stack
from infra.planner.sizing.memory import GIB
from infra.stackfile.load import finding
from tests.unit.plan_kit import EIGHT, facts, plan, problems_of, renamed, stack

LARGE = facts(
    num_hidden_layers=80, hidden_size=8192, intermediate_size=28672, num_attention_heads=64, num_key_value_heads=8
)


def test_a_model_that_fits_is_planned_without_a_word(tmp_path: Path) -> None:
    planned = plan(tmp_path)
    model = planned.models[0]
    assert problems_of(planned) == {}
    assert model.memory is not None
    assert model.memory.fits
    assert model.memory.weights == EIGHT.weights.total  # type: ignore[union-attr]
    assert model.memory.gpu_bytes == int(22.35 * UNKNOWN_SHARE * GIB)
    assert model.pool.description == "g5.8xlarge · 1 × A10G, 21.9 GiB"


def test_weights_that_do_not_fit_are_refused_with_the_arithmetic_and_a_machine(tmp_path: Path) -> None:
    planned = plan(tmp_path, LARGE)
    problem = problems_of(planned)["25 models.eight.gpus"]
    text = str(finding(problem, "stacks/Pulumi.test.yaml"))
    assert text == (
        "stacks/Pulumi.test.yaml: models.eight.gpus: 1 GPU cannot hold the weights of test/eight: 21.9 GiB card, 19.7 "
        "usable - 131.42 weights - 0.35 activations - 1.12 engine and graphs = -113.18 for the KV cache; one full "
        f"sequence needs 2.50; allowed: {problem.allowed}; fix: use {problem.allowed} [EBB025 error]"
    )
    assert problem.allowed.startswith("g7e.12xlarge with gpus: 2 (2 × RTX-PRO-6000, 8.29 USD an hour")


def test_a_context_without_room_is_refused_with_the_longest_that_has(tmp_path: Path) -> None:
    planned = plan(tmp_path, maxTokens=131072)
    problem = problems_of(planned)["26 models.eight.maxTokens"]
    most = int(problem.allowed.removeprefix("1.."))
    assert 16_000 < most < 64_000
    assert f"set maxTokens: {most}" in problem.fix
    assert "26 models.eight.maxTokens" not in problems_of(plan(tmp_path, maxTokens=most))
    assert "26 models.eight.maxTokens" in problems_of(plan(tmp_path, maxTokens=most + 16))


@pytest.mark.parametrize(
    ("known", "model", "expected"),
    [
        (facts(max_position_embeddings=4096), {}, "27 models.eight.maxTokens"),
        (facts(num_attention_heads=30, num_key_value_heads=10), {"gpus": 4, "pool": "four"}, "28 models.eight.gpus"),
        (facts(quantization_config={"quant_method": "fp8"}), {}, "29 models.eight.id"),
        (EIGHT, {"pool": "old"}, "30 models.eight.dtype"),
        (renamed(EIGHT, chat_template=False, task="base"), {}, "31 models.eight.id"),
        (facts(task="embed"), {}, "33 models.eight.id"),
        (facts(architectures=["NoSuchForCausalLM"]), {}, "24 models.eight.id"),
        (renamed(EIGHT, revision="1" * 40), {}, "254 models.eight.revision"),
        (EIGHT, {"weights": "10Gi"}, "255 models.eight.weights"),
        (EIGHT, {"extraArgs": ["--cpu-offload-gb", "8"]}, "252 models.eight.extraArgs"),
        (None, {}, "250 models.eight.id"),
        (renamed(EIGHT, weights=None), {}, "251 models.eight.pool"),
        (EIGHT, {"coldStart": "1m", "idleTtl": "5m"}, "257 models.eight.coldStart"),
        (EIGHT, {"coldStart": "50m", "idleTtl": "60m"}, "45 models.eight.hold"),
    ],
)
def test_each_rule_is_found_at_its_place(tmp_path: Path, known: Any, model: dict[str, Any], expected: str) -> None:
    pools = {
        "pools.four": {"machine": "g5.12xlarge", "max": 1},
        "pools.old": {"machine": "g4dn.12xlarge", "max": 1},
    }
    planned = plan(tmp_path, known, pools, **model)
    assert expected in problems_of(planned)
    problem = problems_of(planned)[expected]
    text = str(finding(problem, "f"))
    assert problem.allowed
    assert problem.fix
    assert "None" not in text


def test_the_hop_that_cuts_a_held_request_is_named(tmp_path: Path) -> None:
    problem = problems_of(plan(tmp_path, coldStart="50m", idleTtl="60m"))["45 models.eight.hold"]
    # held for 75 minutes; a roll-out of the gateway ends any request before an hour
    assert "the roll-out of the gateway lets a request wait, 3210 s" in problem.message
    assert problem.value == "75m"


def test_waiting_for_a_full_guard_counts_against_the_load_balancer_and_not_the_hold(tmp_path: Path) -> None:
    waits = {"guard.whenFull": "wait"}
    # 15 minutes for the guard and 15 for the wake: the interceptor's own hold only begins with the second
    assert "256 models.eight.hold" not in problems_of(plan(tmp_path, changes=waits))
    longer = problems_of(plan(tmp_path, changes={**waits, "guard.waitLimit": "60m"}))["256 models.eight.hold"]
    assert "make 4500 s of silence, and the roll-out of the gateway gives up after 3210 s" in longer.message
    assert "set guard.waitLimit: 2310s or less" in longer.fix


def test_an_unknown_flag_turns_the_refusal_into_a_doubt(tmp_path: Path) -> None:
    planned = plan(tmp_path, LARGE, extraArgs=["--cpu-offload-gb=40"])
    assert problems_of(planned)["25 models.eight.gpus"].severity == "warning"


def test_turns_on_one_card_must_leave_room_for_each_other(tmp_path: Path) -> None:
    shared = {"pools.one.sharing": {"timeSlicing": {"replicas": 2}}, "gpuLayer": {"install": "helm"}}
    problem = problems_of(plan(tmp_path, None, shared))["253 models.eight.gpuMemoryUtilization"]
    assert (problem.value, problem.allowed) == (0.9, "at most 0.5")
    assert "253 models.eight.gpuMemoryUtilization" not in problems_of(
        plan(tmp_path, None, shared, gpuMemoryUtilization=0.5)
    )


def test_an_engine_awake_leaves_those_that_sleep_on_its_card_what_they_keep(tmp_path: Path) -> None:
    def planned(models: int, **model: Any) -> dict[str, Any]:
        turns = {"pools.one.sharing": {"turns": {"models": models}}, "gpuLayer": {"install": "helm"}}
        return problems_of(plan(tmp_path, None, turns, **model))

    path = "264 models.eight.gpuMemoryUtilization"
    assert path not in planned(2), "2 GiB of 21.9"
    problem = planned(4)[path]
    assert (problem.value, problem.allowed, problem.fix) == (0.9, "at most 0.72", "set gpuMemoryUtilization: 0.72")
    assert path not in planned(4, gpuMemoryUtilization=0.72)
    assert "let fewer models take turns" in planned(13, gpuMemoryUtilization=0.1)[path].fix


def test_weights_that_sleep_must_have_room_in_main_memory(tmp_path: Path) -> None:
    def planned(machine: str) -> dict[str, Any]:
        pool = {"machine": machine, "max": 1, "sharing": {"turns": {"models": 2}}}
        return problems_of(plan(tmp_path, EIGHT, {"pools.small": pool, "gpuLayer": {"install": "helm"}}, pool="small"))

    path = "265 pools.small.sharing.turns.models"
    problem = planned("g5.xlarge")[path]
    assert problem.severity == "warning"
    assert "15 GiB of weights" in problem.message
    assert "g5.xlarge has 16 GiB" in problem.message
    assert path not in planned("g5.2xlarge")


def test_a_slice_of_a_card_has_a_slices_memory(tmp_path: Path) -> None:
    sliced = {"pools.cut": {"machine": "p4d.24xlarge", "max": 1, "sharing": {"mig": {"profile": "2g.10gb"}}}}
    planned = plan(tmp_path, EIGHT, sliced, pool="cut")
    pool = planned.pool("cut")
    assert (pool.gpu_bytes, pool.gpus_per_node) == (9_500_000_000, 24)  # a slice has a little less than its name says
    assert "25 models.eight.gpus" in problems_of(planned)


def test_what_is_asked_of_the_engine_by_hand_counts(tmp_path: Path) -> None:
    auto = plan(tmp_path).models[0].memory
    fp8 = plan(tmp_path, extraArgs=["--kv-cache-dtype", "fp8"]).models[0].memory
    eager = plan(tmp_path, extraArgs=["--enforce-eager"]).models[0].memory
    small = plan(tmp_path, extraArgs=["--max-num-batched-tokens=512"]).models[0].memory
    assert auto
    assert fp8
    assert eager
    assert small
    assert fp8.kv_bytes_per_token * 2 == auto.kv_bytes_per_token
    assert eager.overhead < auto.overhead
    assert small.activations < auto.activations


def test_a_model_in_32_bits_is_held_in_what_it_is_computed_in(tmp_path: Path) -> None:
    whole = facts(torch_dtype="float32")
    assert whole.weights is not None
    for dtype, share in (("auto", 2), ("float16", 2), ("float32", 1)):
        planned = plan(tmp_path, whole, dtype=dtype).models[0].memory
        assert planned is not None
        assert planned.weights == whole.weights.total // share


def test_measured_seconds_take_the_place_of_the_tables(tmp_path: Path) -> None:
    config = stack(tmp_path)
    planned = plan_stack(config, lambda _: EIGHT, {"*": {"node": 5.0, "image": 7.0}, "eight": {"image": 9.0}})
    phases = {phase.name: (phase.seconds, phase.by) for phase in planned.models[0].cold.phases}
    assert phases["node"] == (5.0, "given")
    assert phases["image"] == (9.0, "given")
    assert phases["engine"][1] == "measured"


def test_weights_for_several_gpus_come_over_one_nodes_network(tmp_path: Path) -> None:
    pools = {"pools.four": {"machine": "g5.12xlarge", "max": 1}}
    one, four = plan(tmp_path).models[0], plan(tmp_path, EIGHT, pools, pool="four", gpus=4).models[0]
    seconds = [next(p.seconds for p in model.cold.phases if p.name == "weights") for model in (one, four)]
    assert seconds[0] == seconds[1] == pytest.approx(EIGHT.weights.total / 900e6)  # type: ignore[union-attr]


WHOLE: dict[str, tuple[Any, dict[str, Any], dict[str, Any], str]] = {
    "26 a context without room": (
        EIGHT,
        {},
        {"maxTokens": 65536},
        "models.eight.maxTokens: 65536 is more than one sequence's KV cache has room for: 21.9 GiB card, 19.7 usable - "
        "14.96 weights - 0.21 activations - 0.75 engine and graphs = 3.80 for the KV cache; one full sequence needs "
        "8.00; allowed: 1..31072; fix: set maxTokens: 31072, or use g6e.xlarge with gpus: 1 (1 × L40S, 1.86 USD an "
        "hour) [EBB026 error]",
    ),
    "45 a hold longer than a hop": (
        EIGHT,
        {},
        {"coldStart": "50m", "idleTtl": "60m"},
        "models.eight.hold: '75m' is longer than the roll-out of the gateway lets a request wait, 3210 s: it cuts what "
        "is still held; allowed: at most 3210s; fix: set hold: 3210s or less [EBB045 error]",
    ),
    "256 waiting for a guard and a wake": (
        EIGHT,
        {"guard.whenFull": "wait", "guard.waitLimit": "60m"},
        {},
        "models.eight.hold: '15m' and the wait for a full guard make 4500 s of silence, and the roll-out of the "
        "gateway gives up after 3210 s: who waits for the guard may be cut off during the wake; allowed: at most 3210 "
        "s together; fix: set guard.waitLimit: 2310s or less, or whenFull: refuse [EBB256 warning]",
    ),
    "263 a cache type the card has no kernel for": (
        EIGHT,
        {"pools.old": {"machine": "g4dn.12xlarge", "max": 1}},
        {"pool": "old", "gpus": 4, "dtype": "float16", "extraArgs": ["--kv-cache-dtype=fp8"]},
        "models.eight.extraArgs: 'fp8' is asked for, and the engine has no kernel that keeps a cache so on T4 (compute "
        "capability 7.5); allowed: auto, or a type the card's kernels have; fix: leave --kv-cache-dtype out, or use "
        "cards of compute capability 8.0 or more [EBB263 error]",
    ),
}


@pytest.mark.parametrize("case", WHOLE)
def test_the_whole_message_of_what_a_plan_finds(tmp_path: Path, case: str) -> None:
    known, changes, model, expected = WHOLE[case]
    planned = plan(tmp_path, known, changes, **model)
    assert [str(finding(problem, "f")) for problem in planned.problems] == [f"f: {expected}"]


def test_no_model_is_a_plan_too(tmp_path: Path) -> None:
    planned = plan(tmp_path, None, {"models": {}})
    assert (planned.models, planned.problems, planned.cost.gpu_nodes.floor) == ((), (), 0)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_pickle_is_refused_for_good_where_the_place_reads_weights_out_of_a_bucket(kind: Kind) -> None:
    """The planner takes a place that makes nodes for one with a bucket."""
    room = Path(kinds.__file__).parent / kind.name
    streams = any('load_format="runai_streamer"' in file.read_text() for file in room.glob("*.py"))
    assert streams is kind.makes_nodes


YARN = '"rope_parameters": {"rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32768}'


@pytest.mark.parametrize(
    ("overrides", "environment", "refused"),
    [
        ("", {}, True),
        # the engine takes the positions of the configuration for scaled already
        (f"{{{YARN}}}", {}, True),
        (f'{{{YARN}, "max_position_embeddings": 131072}}', {}, False),
        (f"{{{YARN}}}", {"VLLM_ALLOW_LONG_MAX_MODEL_LEN": "1"}, False),
        ('{"rope_parameters": {"rope_type": "linear", "factor": 4.0}}', {}, False),
        ('{"rope_parameters": {"rope_type": "linear", "factor": 2.0}}', {}, True),
        ("no JSON", {}, True),
    ],
)
def test_a_longer_context_by_hf_overrides_is_the_engine_s(
    tmp_path: Path, overrides: str, environment: dict[str, str], refused: bool
) -> None:
    pools = {"pools.big": {"machine": "p4d.24xlarge", "max": 1}}
    arguments = ["--hf-overrides", overrides] if overrides else []
    planned = plan(
        tmp_path, facts(max_position_embeddings=32768), pools, pool="big", gpus=8, maxTokens=131072,
        extraArgs=arguments, extraEnv=environment,
    )  # fmt: skip
    assert ("27 models.eight.maxTokens" in problems_of(planned)) is refused
