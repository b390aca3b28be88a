"""LoRA adapters of a model: the stack file, the engine's pods, the plan, and what is known of an adapter."""

from __future__ import annotations

import json
import runpy
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.model_service import lora_adapters
from components.model_service.arguments import engine_arguments, engine_environment
from components.model_service.settings import Adapter, HotAdapters
from infra.commands import catalog_add
from infra.planner.facts import adapters
from infra.planner.facts.config_json import UnreadableConfig
from infra.planner.judgement import judge
from infra.planner.plan import plan_stack
from infra.planner.sizing.memory import Engine, lora_bytes
from infra.planner.sizing.planned_pool import engine_of
from infra.program.gateway import gateway_settings
from infra.program.serving import model_settings
from infra.stackfile.load import read_file
from tests.unit.plan_kit import EIGHT, ID, facts, sections, stack, write
from tests.unit.test_model_service import BUCKET, LOCAL, MODEL, PLACE, container_of, pod_of, value_of

HOT = {"max": 3, "maxRank": 24}
ADAPTER = {"id": "test/support-lora", "revision": "a" * 40, "rank": 16}
CONFIG = {"peft_type": "LORA", "base_model_name_or_path": ID, "r": 16, "lora_alpha": 32, "target_modules": ["q_proj"]}
HERE = Adapter(name="support", rank=16, weights="/models/test--support-lora/model")
THERE = Adapter(name="legal", rank=24, weights="s3://weights/test--legal/aaaa")
FETCH = Path(__file__).parents[2] / "images" / "vllm" / "fetch_adapters.py"


def of(config: dict[str, Any] | None = None, **more: Any) -> adapters.AdapterFacts:
    fields = {"adapter_id": ADAPTER["id"], "revision": None, "weight_files": ("safetensors",), "source": "the test"}
    return adapters.facts({**CONFIG, **(config or {})}, **{**fields, **more})


def findings(
    folder: Path, adapter: adapters.AdapterFacts | None = None, changes: dict[str, Any] | None = None, **model: Any
) -> list[tuple[str, str]]:
    file = write(folder, sections(changes, **{"adapters": {"support": ADAPTER}, "licenceAccepted": True, **model}))
    judgement = judge(read_file(file), lambda _: EIGHT, adapter_of=lambda _: adapter)
    return [(each.code, each.path.removeprefix("models.eight.")) for each in judgement.findings]


# The stack file.


def test_an_adapter_that_is_known_and_fits_has_no_finding(tmp_path: Path) -> None:
    assert findings(tmp_path, of()) == []


@pytest.mark.parametrize(
    ("model", "code"),
    [
        ({"adapters": {"eight": ADAPTER}}, ("EBB071", "adapters.eight")),
        ({"adapters": {"small": ADAPTER}, "aliases": ["small"]}, ("EBB071", "adapters.small")),
        ({"adapters": {"support": {**ADAPTER, "rank": 0}}}, ("EBB072", "adapters.support.rank")),
        ({"adapters": {"support": {**ADAPTER, "rank": 1024}}}, ("EBB072", "adapters.support.rank")),
        ({"adapterSlots": 2}, ("EBB073", "adapterSlots")),
        ({"adapters": {}, "adapterSlots": 1}, ("EBB073", "adapterSlots")),
        ({"task": "embed"}, ("EBB074", "adapters")),
        ({"adapters": {"Support": ADAPTER}}, ("EBB035", "adapters.Support")),
        ({"adapters": {"support": {**ADAPTER, "revision": "main"}}}, ("EBB020", "adapters.support.revision")),
        ({"adapters": {"support": {**ADAPTER, "id": "support"}}}, ("EBB018", "adapters.support.id")),
        ({"extraArgs": ["--max-lora-rank=64"]}, ("EBB051", "extraArgs[0]")),
        ({"extraArgs": ["--enable-lora"]}, ("EBB051", "extraArgs[0]")),
        ({"adapters": {}, "hotAdapters": HOT, "extraArgs": ["--enable-lora"]}, ("EBB051", "extraArgs[0]")),
        ({"hotAdapters": {**HOT, "maxRank": 600}}, ("EBB072", "hotAdapters.maxRank")),
        ({"hotAdapters": HOT, "adapterSlots": 5}, ("EBB073", "adapterSlots")),
        ({"adapters": {}, "hotAdapters": HOT, "task": "embed"}, ("EBB074", "hotAdapters")),
        ({"hotAdapters": HOT, "nodes": 2}, ("EBB074", "hotAdapters")),
    ],
)
def test_what_cannot_be_served_is_a_finding(tmp_path: Path, model: dict[str, Any], code: tuple[str, str]) -> None:
    assert code in findings(tmp_path, of(), **model)


def test_two_models_have_no_adapter_of_one_name(tmp_path: Path) -> None:
    second = {**sections()["models"]["eight"], "adapters": {"support": ADAPTER}, "licenceAccepted": True}
    assert ("EBB071", "models.other.adapters.support") in findings(tmp_path, of(), {"models.other": second})


def test_long_prompts_and_adapters_do_not_go_together(tmp_path: Path) -> None:
    second = {**sections()["models"]["eight"], "maxTokens": 16384, "adapters": {"legal": ADAPTER}}
    problems = findings(tmp_path, of(), {"models.other": second}, longPrompts="other")
    assert {("EBB074", "adapters"), ("EBB074", "models.other.adapters")} <= set(problems)


def test_a_group_has_rights_to_an_adapter_by_its_name(tmp_path: Path) -> None:
    groups = {"gateway.groups": {"all": {"models": ["*"]}, "few": {"models": ["support"], "wake": ["support"]}}}
    assert findings(tmp_path, of(), groups) == []
    groups["gateway.groups"]["few"] = {"models": ["suport"]}
    assert findings(tmp_path, of(), groups) == [("EBB106", "gateway.groups.few.models[0]")]


def test_groups_may_use_and_load_adapters_of_a_model_that_takes_some(tmp_path: Path) -> None:
    rights = {"models": ["eight/*"], "wake": ["eight/legal"], "loadAdapters": ["eight"]}
    groups = {"gateway.groups": {"all": {"models": ["*"]}, "few": rights}}
    assert findings(tmp_path, of(), groups, hotAdapters=HOT) == []
    models, wake, loading = (("EBB106", f"gateway.groups.few.{key}[0]") for key in ("models", "wake", "loadAdapters"))
    assert set(findings(tmp_path, of(), groups)) == {models, wake, loading}, "without room nothing is loaded"
    rights |= {"models": ["eight/Legal"], "wake": [], "loadAdapters": ["*"]}
    assert set(findings(tmp_path, of(), groups, hotAdapters=HOT)) == {models, loading}


def test_flags_by_hand_stay_possible_without_the_key(tmp_path: Path) -> None:
    problems = findings(tmp_path, None, adapters={}, extraArgs=["--enable-lora", "--max-lora-rank", "64"])
    assert [code for code, _ in problems] == ["EBB060", "EBB060"]


# The pods.


def test_the_engine_has_room_for_the_highest_rank_and_for_every_adapter() -> None:
    model = replace(MODEL, adapters=(HERE, replace(HERE, name="legal", rank=24)), adapter_slots=1)
    arguments = engine_arguments(model, LOCAL, "cuda")
    assert "--enable-lora" in arguments
    values = [value_of(arguments, flag) for flag in ("--max-loras", "--max-cpu-loras", "--max-lora-rank")]
    assert values == ["1", "2", "32"]
    at = arguments.index("--lora-modules")
    folder = "/models/test--support-lora/model"
    assert arguments[at + 1 : at + 3] == [f"support={folder}", f"legal={folder}"]
    assert not [each for each in engine_arguments(MODEL, LOCAL, "cuda") if "lora" in each]
    with pytest.raises(ValueError, match="--max-loras"):
        engine_arguments(replace(model, extra_args=("--max-loras=9",)), LOCAL, "cuda")


def test_the_engine_and_the_plan_have_room_for_what_a_call_may_load(tmp_path: Path) -> None:
    hot = HotAdapters(count=3, rank=24, folder="/models/adapters--small/model")
    model = replace(MODEL, adapters=(HERE,), adapter_slots=2, hot_adapters=hot)
    arguments = engine_arguments(model, LOCAL, "cuda")
    values = [value_of(arguments, flag) for flag in ("--max-loras", "--max-cpu-loras", "--max-lora-rank")]
    assert values == ["2", "4", "32"]
    assert "--lora-modules" not in engine_arguments(replace(model, adapters=()), LOCAL, "cuda")
    (variable,) = [each["value"] for each in container_of(model)["env"] if each["name"] == "EBBTIDE_ADAPTERS"]
    assert json.loads(variable) == {"model": MODEL.name, "base": MODEL.model_id, "rank": 24, "folder": hot.folder}
    assert "EBBTIDE_ADAPTERS" not in engine_environment(replace(model, hot_adapters=None), LOCAL)
    file = write(tmp_path, sections(None, hotAdapters=HOT, licenceAccepted=True))
    config = read_file(file).config
    assert config is not None
    assert (config.models["eight"].slots, config.models["eight"].adapter_rank) == (3, 24)
    store: Any = SimpleNamespace(weights=lambda id, revision: replace(LOCAL, path=f"s3://x/{id}/{revision}"))
    folder = "s3://x/adapters/eight/loaded"
    assert model_settings(config.models["eight"], store).hot_adapters == HotAdapters(count=3, rank=24, folder=folder)
    engine = engine_of(config.models["eight"], 80 * 2**30, None)
    assert (engine.loras, engine.lora_rank) == (3, 32)


@pytest.mark.parametrize(("rank", "room"), [(0, 0), (1, 1), (2, 8), (8, 8), (9, 16), (65, 128), (257, 320), (512, 512)])
def test_room_is_one_of_the_ranks_that_the_engine_takes(rank: int, room: int) -> None:
    assert lora_adapters.room_for(rank) == room


def test_a_store_that_is_a_folder_needs_no_copy() -> None:
    pod = pod_of(replace(MODEL, adapters=(HERE,)))
    assert "initContainers" not in pod
    assert "adapters" not in [volume["name"] for volume in pod["volumes"]]


def test_an_adapter_in_a_bucket_is_copied_before_the_engine_starts() -> None:
    model, place = replace(MODEL, adapters=(HERE, THERE)), replace(PLACE, weights=BUCKET)
    pod, engine = pod_of(model, place), container_of(model, place)
    (copying,) = pod["initContainers"]
    assert copying["command"][1:] == ["/usr/local/bin/fetch_adapters.py", THERE.weights, "/adapters/legal"]
    assert copying["image"] == engine["image"]
    assert copying["securityContext"]["readOnlyRootFilesystem"] is True
    assert {"name": "adapters", "mountPath": "/adapters", "readOnly": True} in engine["volumeMounts"]
    assert {"name": "adapters", "mountPath": "/adapters"} in copying["volumeMounts"]
    assert "legal=/adapters/legal" in engine["args"]


def fetched(monkeypatch: pytest.MonkeyPatch, folder: Path, *files: str) -> int:
    """Run the copy with a stand-in for the streamer that has ``files`` in the bucket."""

    def pull_files(uri: str, target: str, allowed: list[str], ignored: None) -> None:
        assert uri == "s3://weights/legal/"
        for name in files:
            (Path(target) / name).write_text("x")

    monkeypatch.setitem(sys.modules, "runai_model_streamer", SimpleNamespace(pull_files=pull_files))  # type: ignore[arg-type]
    return int(runpy.run_path(str(FETCH))["main"](["s3://weights/legal", str(folder / "legal")]))


def test_the_copy_fails_for_an_adapter_that_is_not_there_yet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fetched(monkeypatch, tmp_path, "adapter_config.json") == 1
    assert "no adapter_model.safetensors" in capsys.readouterr().out
    assert fetched(monkeypatch, tmp_path, "adapter_config.json", "adapter_model.safetensors") == 0


def test_adapters_stand_in_one_order_wherever_the_stack_file_is_read(tmp_path: Path) -> None:
    model = stack(tmp_path, adapters={"b": ADAPTER, "a": ADAPTER}, licenceAccepted=True).models["eight"]
    store: Any = SimpleNamespace(weights=lambda id, revision: replace(LOCAL, path=f"s3://x/{id}/{revision}"))
    settings = model_settings(model, store)
    assert [each.name for each in settings.adapters] == ["a", "b"]
    assert settings.adapters[0].weights == f"s3://x/{ADAPTER['id']}/{ADAPTER['revision']}"
    assert settings.adapter_slots == 2


def test_the_gateway_is_told_of_them(tmp_path: Path) -> None:
    config = stack(tmp_path, adapters={"support": ADAPTER}, licenceAccepted=True)
    (model,) = gateway_settings(config, "http://interceptor", "keda").models
    assert model.adapters == {"support": ADAPTER["id"]}


# The plan.


@pytest.mark.parametrize(
    ("adapter", "code"),
    [
        (None, ("EBB281", "adapters.support.id")),
        (of(revision="b" * 40), ("EBB281", "adapters.support.id")),
        (of({"base_model_name_or_path": "test/nine"}), ("EBB282", "adapters.support.id")),
        (of({"base_model_name_or_path": None}), ("EBB282", "adapters.support.id")),
        (of({"r": 8}), ("EBB283", "adapters.support.rank")),
        (of({"rank_pattern": {"q_proj": 64}}), ("EBB283", "adapters.support.rank")),
        (of({"use_dora": True}), ("EBB284", "adapters.support.id")),
        (of(weight_files=("bin",)), ("EBB022", "adapters.support.id")),
    ],
)
def test_what_an_adapter_says_of_itself_is_judged(
    tmp_path: Path, adapter: adapters.AdapterFacts | None, code: tuple[str, str]
) -> None:
    assert findings(tmp_path, adapter) == [code]


def test_a_model_without_lora_in_the_engine_takes_none(tmp_path: Path) -> None:
    config = stack(tmp_path, adapters={"support": ADAPTER}, licenceAccepted=True)
    other = facts(architectures=["GPT2LMHeadModel"], model_type="gpt2")
    codes = {problem.code for problem in plan_stack(config, lambda _: other, adapter_of=lambda _: of()).problems}
    assert "EBB284" in codes
    assert "EBB284" not in {p.code for p in plan_stack(config, lambda _: EIGHT, adapter_of=lambda _: of()).problems}


def test_the_room_for_adapters_is_counted_in_the_gpus_memory(tmp_path: Path) -> None:
    config = stack(tmp_path, adapters={"support": ADAPTER}, licenceAccepted=True)
    (with_one,) = plan_stack(config, lambda _: EIGHT, adapter_of=lambda _: of()).models
    (without,) = plan_stack(stack(tmp_path), lambda _: EIGHT).models
    assert with_one.memory is not None
    assert without.memory is not None
    # Llama 3.1 8B by hand, a rank of 16 in 16 bits: q 4096 + 4096, k and v 4096 + 1024 each, o 4096 + 4096, gate and up
    # 4096 + 14336 each, down 14336 + 4096; twice the vocabulary and the width at the ends
    layer = 2 * 8192 + 2 * 5120 + 3 * 18432
    assert with_one.memory.lora == 16 * 2 * (32 * layer + 2 * (128256 + 4096))
    assert without.memory.kv_free - with_one.memory.kv_free == with_one.memory.lora
    assert "LoRA" in with_one.memory.description()


def test_tensor_parallelism_cuts_half_of_it_and_every_expert_counts() -> None:
    engine = Engine(context=4096, lora_rank=16, loras=1)
    whole, halves = lora_bytes(EIGHT, engine), lora_bytes(EIGHT, replace(engine, tensor_parallel=2))
    assert whole / 2 < halves < whole
    moe = facts(num_local_experts=8, num_experts_per_tok=2, model_type="mixtral")
    assert lora_bytes(moe, engine) > 5 * whole
    assert lora_bytes(EIGHT, replace(engine, loras=3)) == 3 * whole


# What is known of an adapter.


@pytest.mark.parametrize(
    ("config", "word"),
    [
        ({"peft_type": "IA3"}, "IA3"), ({"bias": "all"}, "bias"), ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "modules_to_save"), ({"init_lora_weights": "pissa"}, "pissa"),
        ({"layer_replication": [[0, 4]]}, "layer_replication"), ({"lora_bias": True}, "lora_bias"),
    ],
)  # fmt: skip
def test_features_that_the_engine_refuses_are_named(config: dict[str, Any], word: str) -> None:
    (reason,) = of(config).refused
    assert word in reason
    assert of({"init_lora_weights": "gaussian"}).refused == ()


@pytest.mark.parametrize("rank", [None, 0, -1, "16", True, 1.5, 2**30])
def test_an_adapter_without_a_rank_is_unreadable(rank: Any) -> None:
    with pytest.raises(UnreadableConfig, match="names no rank"):
        of({"r": rank})


def test_a_recorded_adapter_is_judged_without_a_network(tmp_path: Path) -> None:
    folder = tmp_path / "files" / "model"
    folder.mkdir(parents=True)
    (folder / "adapter_config.json").write_text(json.dumps(CONFIG))
    (folder / "adapter_model.safetensors").write_bytes(b"")
    options = catalog_add.Options(
        model="test/support-lora", folder=str(folder.parent), revision="a" * 40, stacks=tmp_path
    )
    file = catalog_add.recorded(options)
    assert file == tmp_path / "adapters" / "test-support-lora.yaml"
    record = adapters.read(tmp_path)
    assert record.problems == ()
    known = record.find("Test/Support-LoRA")
    assert known is not None
    assert (known.base, known.rank, known.revision, known.weight_files) == (ID, 16, "a" * 40, ("safetensors",))


@pytest.mark.parametrize("text", ["[", "{}", "id: a/b\nreadOn: 2026-01-01\nweightFiles: []\nconfig: {r: x}\n"])
def test_a_record_that_cannot_be_read_is_a_finding(tmp_path: Path, text: str) -> None:
    (tmp_path / "adapters").mkdir()
    (tmp_path / "adapters" / "x.yaml").write_text(text)
    assert [problem.code for problem in adapters.read(tmp_path).problems] == ["EBB266"]


def test_a_folder_of_a_model_is_no_adapter(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert adapters.from_folder(tmp_path, "a/b") is None
    (tmp_path / "adapter_config.json").write_text("[]")
    with pytest.raises(UnreadableConfig, match="not a JSON object"):
        adapters.from_folder(tmp_path, "a/b")
