"""What an engine's own log says of its start is kept, and planned by."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
import yaml

from components.catalog.gpus import gpus
from components.catalog.versions import pinned
from components.typed.refusal import Problem
from infra.commands import fit
from infra.commands.options import FitOptions
from infra.errors import UsageError
from infra.planner.facts import presets
from infra.planner.facts.model_facts import ModelFacts
from infra.planner.judgement import judge_with_records
from infra.planner.plan import Plan, plan_stack
from infra.planner.sizing import measured_starts, memory, start_log
from infra.planner.sizing.measured_starts import Start
from infra.planner.sizing.memory import GIB, Engine
from infra.stackfile.load import read_file
from tests.unit import plan_kit

MODEL, GPU = "meta-llama/Llama-3.1-8B-Instruct", "A100-80GB"
TODAY = date(2026, 11, 30)
PINNED = pinned("vllm").version
CARD = int(gpus()[GPU].usable_gib * GIB)


def of_now(
    kv: float = 56.21, *, version: str = PINNED, model: str = MODEL, more: str = "", sequences: str = "256"
) -> str:
    """The lines of a start as the pinned engine writes them."""
    kept = f", 'max_num_seqs': {sequences}" if sequences else ""
    return f"""\
(APIServer pid=1) INFO 11-30 10:00:00 [api_utils.py:286] non-default args: {{'model_tag': '{model}', \
'max_model_len': 131072, 'gpu_memory_utilization': 0.92{kept}{more}}}
(EngineCore pid=7) INFO 11-30 10:00:09 [core.py:133] Initializing a V1 LLM engine (v{version}) with config: \
model='{model}', speculative_config=None, dtype=torch.bfloat16, max_seq_len=131072, tensor_parallel_size=1, \
pipeline_parallel_size=1, quantization=None, enforce_eager=False, kv_cache_dtype=auto, device_config=cuda, \
served_model_name=mine, enable_prefix_caching=True
(EngineCore pid=7) INFO 11-30 10:00:20 [model_runner.py:425] Model loading took 15.0 GiB memory and 9.100000 seconds
(EngineCore pid=7) INFO 11-30 10:00:40 [gpu_worker.py:760] \x1b[32mAvailable KV cache memory: {kv} GiB\x1b[0m
(EngineCore pid=7) INFO 11-30 10:00:41 [kv_cache_utils.py:2328] GPU KV cache size: 460,496 tokens, \
Maximum concurrency for 131,072 tokens per request: 3.51x
(EngineCore pid=7) INFO 11-30 10:00:50 [gpu_model_runner.py:6582] Graph capturing finished in 9 secs, took 0.23 GiB
"""


# the forms of other versions, and what is read of them
FORMS: dict[str, tuple[str, dict[str, float]]] = {
    "0.6 and 0.7": (
        "INFO 04-20 17:00:56 worker.py:241] the current vLLM instance can use total_gpu_memory (39.49GiB) x "
        "gpu_memory_utilization (0.90) = 35.55GiB\n"
        "INFO 04-20 17:00:56 worker.py:241] model weights take 27.63GiB; non_torch_memory takes 0.93GiB; PyTorch "
        "activation peak memory takes 1.27GiB; the rest of the memory reserved for KV Cache is 5.71GiB.\n"
        "INFO 04-20 17:00:57 executor_base.py:116] Maximum concurrency for 8192 tokens per request: 4.50x\n",
        {
            "card_gib": 39.49, "memory_share": 0.9, "weights_gib": 27.63, "non_torch_gib": 0.93, "kv_gib": 5.71,
            "activation_gib": 1.27, "context": 8192, "concurrency": 4.5,
        },
    ),
    "0.10, two GPUs": (
        "(Worker_TP0 pid=5) INFO [gpu_model_runner.py:2007] Model loading took 34.3842 GiB and 60.1 seconds\n"
        "(Worker_TP1 pid=6) INFO [gpu_model_runner.py:2007] Model loading took 34.3790 GiB and 60.1 seconds\n"
        "(Worker_TP0 pid=5) INFO [gpu_worker.py:276] Available KV cache memory: 35.82 GiB\n"
        "(Worker_TP1 pid=6) INFO [gpu_worker.py:276] Available KV cache memory: 35.80 GiB\n"
        "(EngineCore_0 pid=4) INFO [kv_cache_utils.py:831] GPU KV cache size: 1,043,264 tokens\n"
        "(EngineCore_0 pid=4) INFO [kv_cache_utils:835] Maximum concurrency for 131,072 tokens per request: 15.66x\n",
        {
            "weights_gib": 34.3842, "kv_gib": 35.80, "kv_tokens": 1043264, "context": 131072, "concurrency": 15.66,
        },
    ),
    "0.11 to 0.30, in whole": (
        "INFO [gpu_worker.py:391] Free memory on device (78.6/79.2 GiB) on startup. Desired GPU memory utilization is "
        "(0.9, 71.28 GiB). Actual usage is 37.99 GiB for weight, 4.71 GiB for peak activation, -0.42 GiB for non-torch "
        "memory, and 0.68 GiB for CUDAGraph memory. Replace gpu_memory_utilization config\n",
        {
            "card_gib": 79.2, "memory_share": 0.9, "weights_gib": 37.99, "activation_gib": 4.71,
            "non_torch_gib": -0.42, "graph_gib": 0.68,
        },
    ),
    "one that stopped": (
        "ValueError: To serve at least one request with the model's max seq len (32000), (1.1 GiB KV cache is needed, "
        "which is larger than the available KV cache memory (0.59 GiB). Try\n",
        {"kv_gib": 0.59},
    ),
}  # fmt: skip


def log_file(folder: Path, text: str) -> Path:
    file = folder / "engine.log"
    file.write_text(text)
    return file


def facts() -> ModelFacts:
    preset = presets.find(MODEL)
    assert preset is not None
    return preset


def start_of(text: str, product: str = GPU, share: float | None = None) -> Start:
    card = int(gpus()[product].usable_gib * GIB)
    log = start_log.last_start(text.splitlines())
    return measured_starts.measurement(log, facts(), product, card, share=share, today=TODAY).start


def options(log: Path, **changes: object) -> FitOptions:
    return replace(FitOptions(model=MODEL, gpu=GPU, from_log=str(log), format="json"), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", FORMS)
def test_the_lines_of_every_version_are_read(form: str) -> None:
    text, expected = FORMS[form]
    assert start_log.last_start(text.splitlines()).figures == expected


def test_the_pinned_engine_s_lines_are_read() -> None:
    start_read = start_log.last_start(of_now().splitlines())
    assert (start_read.version, start_read.words["model"], start_read.words["dtype"]) == (PINNED, MODEL, "bfloat16")
    assert start_read.figures == {
        "weights_gib": 15.0, "kv_gib": 56.21, "graph_gib": 0.23, "memory_share": 0.92, "kv_tokens": 460496,
        "concurrency": 3.51, "context": 131072, "tensor_parallel": 1, "pipeline_parallel": 1, "sequences": 256,
    }  # fmt: skip


def test_words_count_where_the_engine_says_its_settings_and_nowhere_else() -> None:
    other = "INFO [flashinfer.py:822] kv_cache_dtype=torch.float8_e4m3fn, dtype=torch.float16, 1 GiB of workspace\n"
    start_read = start_log.last_start((of_now() + other).splitlines())
    assert (start_read.words["kv_dtype"], start_read.words["dtype"]) == ("auto", "bfloat16")


def test_of_several_starts_the_last_one_counts() -> None:
    start_read = start_log.last_start((of_now(50.0, sequences="16") + of_now(56.21)).splitlines())
    assert (start_read.figures["kv_gib"], start_read.figures["sequences"]) == (56.21, 256)
    # the engine's own process alone was started again: what was asked for is the same
    again = "INFO [scheduler.py:308] Chunked prefill is enabled with max_num_batched_tokens=4096.\n"
    core = of_now(51.0).partition("\n")[2]
    start_read = start_log.last_start((of_now(50.0) + again + core).splitlines())
    figures = [start_read.figures[name] for name in ("kv_gib", "sequences", "batched_tokens", "memory_share")]
    assert figures == [51.0, 256, 4096, 0.92]


def test_the_next_fit_answers_what_was_measured_and_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = log_file(tmp_path, of_now(50.0))
    assert fit.run(options(log), tmp_path) == fit.FITS
    read = json.loads(capsys.readouterr().out)
    assert read["kv_bytes_free_per_gpu"] == pytest.approx(50.0 * GIB, abs=2)
    assert (read["context_tokens"], read["tensor_parallel"], read["gpu"]) == (131072, 1, GPU)
    assert read["recorded"]["measured"]["kvGib"] == 50.0
    assert read["recorded"]["planned"]["kvGib"] == pytest.approx(55.96, abs=0.01)
    # another day, without the log: 16 sequences take less than 256, and still what was measured too little
    plain = FitOptions(model=MODEL, gpu=GPU, gpus=1, context=131072, memory_share=0.92)
    before, after = (fit.answered(plain, folder).best.plan for folder in (tmp_path / "none", tmp_path))
    assert before.kv_free - after.kv_free == pytest.approx((55.96 - 50.0) * GIB, rel=0.01)
    assert re.search(r"- 5\.9\d measured on \d{4}-\d\d-\d\d with vLLM " + re.escape(PINNED), after.description())


def test_text_shows_planned_beside_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = log_file(tmp_path, of_now())
    assert fit.run(options(log, format="text"), tmp_path) == fit.FITS
    shown = capsys.readouterr().out
    assert re.search(r"KV cache, GiB\s+55\.96\s+56\.21", shown)
    assert "measured on" in shown


@pytest.mark.parametrize("product", [GPU.lower(), GPU.upper(), GPU])
def test_every_command_plans_by_it(tmp_path: Path, product: str) -> None:
    start = start_of(of_now(50.0))
    (tmp_path / measured_starts.FOLDER).mkdir()
    file = measured_starts.file_of(tmp_path, MODEL, product)
    file.write_text(measured_starts.document(file, MODEL, product, start))
    pool = {"gpu": {"count": 1, "product": GPU}, "max": 2, "nodes": ["gpu-node-1"]}
    changes = {
        "platform": {
            "kind": "existing", "context": "gpu-cluster", "registry": {"address": "registry.example.com/ebbtide"},
            "modelStore": {"claim": "weights"},
        },
        "pools": {"one": pool}, "models.eight.id": MODEL, "models.eight.licenceAccepted": True,
        "models.eight.revision": facts().revision, "models.eight.gpuMemoryUtilization": 0.92,
        "models.eight.maxTokens": 131072, "models.eight.maxSequences": 256,
    }  # fmt: skip
    stack = plan_kit.write(tmp_path, plan_kit.sections(changes))
    judged = judge_with_records(read_file(stack), tmp_path)
    assert judged.plan is not None
    plan = judged.plan.models[0].memory
    assert plan is not None
    assert plan.kv_free == pytest.approx(50.0 * GIB, abs=2)
    assert plan.measured_by == f"measured on 2026-11-30 with vLLM {PINNED}"
    # a flag that changes the memory was not measured
    for argument in ("--cpu-offload-gb=4", "--limit-mm-per-prompt.image=0", "--max-cudagraph-capture-size=8"):
        changes["models.eight.extraArgs"] = [argument]
        other = judge_with_records(read_file(plan_kit.write(tmp_path, plan_kit.sections(changes))), tmp_path).plan
        assert other is not None
        assert other.models[0].memory is not None
        assert not other.models[0].memory.measured_by, argument


@pytest.mark.parametrize("kv", [45.0, 50.0, 55.0, 56.21, 58.0, 60.0])
@pytest.mark.parametrize("sequences", [1, 16, 128, 256, 512])
@pytest.mark.parametrize("batched", [1024, 2048, 4096])
def test_a_figure_only_moves_towards_what_was_measured(kv: float, sequences: int, batched: int) -> None:
    start = start_of(of_now(kv))
    engine = Engine(context=8192, sequences=sequences, max_batched_tokens=batched, memory_share=0.92)
    planned = memory.plan(facts(), CARD, engine)
    memory_plan = measured_starts.plan(facts(), CARD, engine, [start])
    low, high = sorted((planned.non_cache, start.taken_bytes))
    assert low <= memory_plan.non_cache <= high
    if (sequences, batched) == (256, 2048):
        assert memory_plan.kv_free == pytest.approx(kv * GIB, abs=2)
    default = memory.plan(facts(), CARD, replace(engine, sequences=256, max_batched_tokens=2048))
    if start.taken_bytes > default.non_cache:
        assert memory_plan.kv_free <= planned.kv_free, "a start that took more than planned promises nobody more"


@pytest.mark.parametrize(
    "change",
    [
        {"tensor_parallel": 2}, {"eager": True}, {"kv_dtype": "fp8"}, {"loras": 1, "lora_rank": 16},
        {"pipeline_parallel": 2}, {"expert_parallel": True}, {"text_only": True},
    ],
    ids=str,
)  # fmt: skip
def test_a_start_with_other_settings_is_not_used(change: dict[str, object]) -> None:
    engine = replace(Engine(context=8192, sequences=256, max_batched_tokens=2048), **change)  # type: ignore[arg-type]
    assert measured_starts.plan(facts(), CARD, engine, [start_of(of_now(50.0))]) == memory.plan(facts(), CARD, engine)


def test_another_version_is_used_with_a_note_and_this_one_goes_first() -> None:
    engine = Engine(context=131072, sequences=256, max_batched_tokens=2048, memory_share=0.92)
    old = replace_start(start_of(of_now(50.0, version="0.29.0")), date(2026, 12, 1))
    memory_plan = measured_starts.plan(facts(), CARD, engine, [old])
    assert memory_plan.measured_by == f"measured on 2026-12-01 with vLLM 0.29.0, not with the pinned {PINNED}"
    both = measured_starts.plan(facts(), CARD, engine, [old, start_of(of_now(54.0))])
    assert both.kv_free == pytest.approx(54.0 * GIB, abs=2)


def replace_start(start: Start, day: date) -> Start:
    return start.model_copy(update={"date": day})


def test_graphs_that_an_old_engine_took_on_top_are_counted() -> None:
    old, new = (start_of(of_now(50.0, version=version)) for version in ("0.20.0", "0.21.0"))
    assert old.taken_bytes - new.taken_bytes == int(0.23 * GIB)


def test_a_start_of_another_model_or_gpu_is_never_used() -> None:
    starts = measured_starts.MeasuredStarts({(MODEL.lower(), GPU.lower()): (start_of(of_now(50.0)),)})
    assert starts.find(MODEL.upper(), GPU)
    assert not starts.find("meta-llama/Llama-3.1-8B", GPU)
    assert not starts.find(MODEL, "A100-40GB")
    assert not starts.find(MODEL, None)


@pytest.mark.parametrize(
    "model",
    [MODEL, "/models/meta-llama--Llama-3.1-8B-Instruct/model", "s3://store/x/meta-llama--Llama-3.1-8B-Instruct/0123"],
)
def test_the_model_is_known_by_its_id_or_its_folder(model: str) -> None:
    assert start_of(of_now(model=model)).taken_bytes


SECRET = "hf" + "_" + "Zq7kT3vX" * 5
BAD: dict[str, tuple[str, str]] = {
    "of another model": (of_now(model=f"someone/{SECRET}"), "does not name"),
    "of a smaller model of the family": (of_now(model="meta-llama/Llama-3.1-8B"), "does not name"),
    "of another GPU": (of_now() + "total capacity of 39.38 GiB " + SECRET, "is of a GPU with 39.38 GiB"),
    "of another GPU that does not say so": (of_now(15.0), "is too far from the plan"),
    "no log": (SECRET + "\n\x00\xff nothing", "has no start of vLLM"),
    "empty": ("", "has no start of vLLM"),
    "cut at its beginning": (of_now().partition("\n")[2].partition("\n")[2], "does not name"),
    "without its arguments": (of_now().partition("\n")[2], "does not say the share"),
    "with a flag that no plan follows": (of_now(more=f", 'hf_overrides': '{SECRET}'"), "--hf-overrides"),
    "with a flag that takes memory": (
        of_now(more=f", 'limit_mm_per_prompt': {{'{SECRET}': 0}}"),
        "--limit-mm-per-prompt",
    ),
    "of an engine that can sleep": (of_now(more=", 'enable_sleep_mode': True"), "--enable-sleep-mode"),
    "with a figure that no GPU has": (of_now(999999999.0), "a figure that no GPU has"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_log_is_one_clear_line_and_repeats_nothing_of_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], case: str
) -> None:
    text, why = BAD[case]
    assert fit.run(options(log_file(tmp_path, text)), tmp_path) == fit.USAGE
    out, error = capsys.readouterr()
    assert not out
    assert why in error
    assert all(word in error for word in ("--from-log", "allowed: ", "fix: "))
    assert SECRET not in error
    assert not (tmp_path / measured_starts.FOLDER).exists()


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"gpu": None}, "name the log's"),
        ({"from_log": "/nowhere/at.all"}, "no such file"),
        ({"from_log": "/"}, "is no"),
    ],
)
def test_what_is_missing_beside_the_log_is_said(tmp_path: Path, changes: dict[str, object], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        fit._recorded(options(log_file(tmp_path, of_now()), **changes), str(changes.get("from_log", "x")), tmp_path)


def test_a_second_start_with_the_same_settings_takes_the_first_one_s_place(tmp_path: Path) -> None:
    for kv, sequences in ((50.0, "256"), (51.0, "256"), (52.0, "128")):
        fit.run(options(log_file(tmp_path, of_now(kv, sequences=sequences))), tmp_path)
    (file,) = (tmp_path / measured_starts.FOLDER).iterdir()
    document = yaml.safe_load(file.read_text())
    assert [each["measured"]["kvGib"] for each in document["starts"]] == [51.0, 52.0]
    assert document["model"] == MODEL
    assert "hf_" not in file.read_text()


def test_a_file_that_cannot_be_read_is_a_finding_in_every_command(tmp_path: Path) -> None:
    (tmp_path / measured_starts.FOLDER).mkdir()
    (tmp_path / measured_starts.FOLDER / "a.yaml").write_text("model: x\nstarts: 3\n")
    stack = plan_kit.write(tmp_path, plan_kit.sections())
    findings = judge_with_records(read_file(stack), tmp_path).findings
    assert ["measured/a.yaml" in each.message for each in findings if each.code == "EBB266"] == [True]


def test_no_fix_names_a_machine_on_which_the_start_was_measured_not_to_fit(tmp_path: Path) -> None:
    """An L4 is planned to do, and is the cheapest; a start there had no room at all."""
    engine = Engine(context=8192, sequences=64, max_batched_tokens=2048, memory_share=0.9)
    settings = measured_starts._settings(plan_kit.EIGHT, engine)
    card = int(gpus()["L4"].usable_gib * GIB)
    start = Start(date=TODAY, engine=PINNED, settings=settings, taken_bytes=int(card * 0.9) - 2**20)
    starts = measured_starts.MeasuredStarts({(plan_kit.ID, "l4"): (start,)})
    stack = plan_kit.stack(tmp_path, {"pools.one.machine": "g6.2xlarge"}, maxSequences=64)
    assert not _not_fitting(plan_stack(stack, plan_kit.BY_ID.get))
    (problem,) = _not_fitting(plan_stack(stack, plan_kit.BY_ID.get, starts=starts))
    assert "measured on 2026-11-30" in problem.message
    assert "use g5.2xlarge" in problem.fix


def _not_fitting(plan_of_stack: Plan) -> list[Problem]:
    return [problem for problem in plan_of_stack.problems if problem.code in ("EBB025", "EBB026")]
