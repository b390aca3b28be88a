"""A model's kind: presets, parsers, a chat template of the stack's own, and quantization while loading."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from components.catalog import models as catalogue
from components.catalog.engine_allowed import engine_allowed
from components.model_service import chat_template
from components.model_service.arguments import engine_arguments
from components.model_service.workload import leader_worker_set
from infra.commands.fit import answered
from infra.commands.options import FitOptions
from infra.planner.facts import presets
from infra.planner.fit_answer import as_json
from infra.planner.judgement import judge_with_records
from infra.planner.sizing.compatibility_gpu import table
from infra.stackfile import chat_templates
from infra.stackfile.chat_templates import LARGEST, Unusable
from infra.stackfile.load import read_file
from infra.stackfile.schema.model import ModelConfig, OnLoad
from tests.unit.plan_kit import EIGHT, facts, plan, problems_of, sections, write
from tests.unit.test_model_service import LOCAL, MODEL, PLACE, value_of

OWN_IMAGE = {"image.base": "registry.example.com/vllm@sha256:" + "0" * 64}
CHAT = "{% for m in messages %}{{ m.content }}{% endfor %}"


def judged(folder: Path, changes: dict[str, Any] | None = None, **model: Any) -> tuple[ModelConfig | None, list[Any]]:
    """The model and the findings of a stack file in which it has these keys; None takes one out."""
    document = sections(changes)
    fields = {**document["models"]["eight"], "licenceAccepted": True, **model}
    document["models"]["eight"] = {key: value for key, value in fields.items() if value is not None}
    file = write(folder, document)
    judgement = judge_with_records(read_file(file), file.parent)
    return (judgement.reading.config.models["eight"] if judgement.reading.config else None), list(judgement.findings)


def of_preset(folder: Path, name: str, **model: Any) -> tuple[ModelConfig | None, list[Any]]:
    return judged(folder, preset=name, **{"id": None, "revision": None, **model})


def codes(findings: list[Any]) -> list[tuple[str, str]]:
    return [(each.code, each.path.removeprefix("models.eight.")) for each in findings]


# presets


@pytest.mark.parametrize("name", [name for name in catalogue.names() if name != "flux.1-schnell"])
def test_every_preset_fills_what_the_catalogue_has_of_it(tmp_path: Path, name: str) -> None:
    preset = catalogue.preset(name)
    model, findings = of_preset(tmp_path, name, allowPickle=True)
    assert preset is not None
    assert model is not None, findings
    assert (model.id, model.revision) == (preset.id, preset.revision)
    assert model.task == ("embed" if preset.task == "embed" else "chat")
    assert model.parsers == (preset.tool_calling, preset.reasoning)
    assert not {"EBB144", "EBB145", "EBB146", "EBB147"} & {each.code for each in findings}


def test_what_is_written_beside_a_preset_wins(tmp_path: Path) -> None:
    model, _ = of_preset(tmp_path, "qwen3-8b", revision="1" * 40, toolCalling="pythonic", reasoning=False)
    assert model is not None
    assert (model.id, model.revision, model.parsers) == ("Qwen/Qwen3-8B", "1" * 40, ("pythonic", None))
    model, findings = of_preset(tmp_path, "qwen3-8b", task="embed")
    assert model is not None
    assert (model.task, model.parsers) == ("embed", (None, None))
    assert "EBB147" not in {each.code for each in findings}


def test_another_id_beside_a_preset_needs_its_own_commit(tmp_path: Path) -> None:
    assert codes(of_preset(tmp_path, "qwen3-8b", id="me/finetuned")[1]) == [("EBB145", "revision")]
    model, _ = of_preset(tmp_path, "qwen3-8b", id="me/finetuned", revision="1" * 40)
    assert model is not None
    assert model.parsers == ("hermes", "qwen3")
    alias = of_preset(tmp_path, "llama-3.1-8b", id="meta-llama/Meta-Llama-3.1-8B-Instruct")[0]
    assert alias is not None
    assert alias.revision.startswith("0e9e39f2")


def test_a_commit_that_nobody_could_look_up_has_to_be_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = catalogue.preset("phi-4")
    assert known is not None
    monkeypatch.setattr(catalogue, "preset", lambda _: known.model_copy(update={"revision": None}))
    _, findings = of_preset(tmp_path, "phi-4")
    assert codes(findings) == [("EBB145", "revision")]
    assert "add revision" in findings[0].fix


@pytest.mark.parametrize(("name", "fix"), [("lama-3.1-8b", "llama-3.1-8b?"), ("Qwen3-8B", "qwen3-8b?"), (8, "choose")])
def test_a_preset_that_nobody_knows_is_one_finding_with_the_nearest(tmp_path: Path, name: Any, fix: str) -> None:
    _, findings = of_preset(tmp_path, name)
    assert codes(findings) == [("EBB144", "preset")]
    assert fix in findings[0].fix


def test_without_a_preset_id_and_revision_are_both_asked_for(tmp_path: Path) -> None:
    _, findings = judged(tmp_path, id=None, revision=None)
    assert codes(findings) == [("EBB103", "id"), ("EBB103", "revision")]


def test_a_stack_without_these_keys_starts_as_before(tmp_path: Path) -> None:
    model, _ = judged(tmp_path, id="Qwen/Qwen3-8B", revision="1" * 40)
    assert model is not None
    assert (model.parsers, model.chat_template, model.quantization) == ((None, None), None, None)


# parsers


def test_the_catalogues_parsers_are_the_engines() -> None:
    for name in catalogue.names():
        preset = catalogue.preset(name)
        assert preset is not None
        assert preset.tool_calling in (None, *engine_allowed().parser_names("toolCalling"))
        assert preset.reasoning in (None, *engine_allowed().parser_names("reasoning"))


def test_true_takes_the_parser_that_the_catalogue_knows_for_the_id(tmp_path: Path) -> None:
    model, findings = judged(tmp_path, id="openai/gpt-oss-20b", toolCalling=True, reasoning=True)
    assert model is not None
    assert model.parsers == ("openai", "openai_gptoss")
    assert "EBB146" not in {each.code for each in findings}


@pytest.mark.parametrize("key", ["toolCalling", "reasoning"])
def test_true_for_a_model_whose_parser_nobody_knows_asks_for_its_name(tmp_path: Path, key: str) -> None:
    for model in ("me/own", "google/gemma-3-4b-it", "someone/qwen3-8b"):
        keys: dict[str, Any] = {key: True}
        problem = next(each for each in judged(tmp_path, id=model, **keys)[1] if each.code == "EBB146")
        assert (problem.path, problem.severity) == (f"models.eight.{key}", "error")
        assert model in problem.message


@pytest.mark.parametrize(
    ("value", "fix"),
    [("hermse", "hermes?"), ("llama3", "llama3_json?"), ("x" * 80, "choose"), (3, "true"), ([], "true")],
)
def test_a_parser_that_the_engine_lacks_is_refused_with_the_nearest(tmp_path: Path, value: Any, fix: str) -> None:
    problem = next(each for each in judged(tmp_path, toolCalling=value)[1] if each.code == "EBB146")
    assert problem.severity == "error"
    assert fix in problem.fix


def test_an_image_of_ones_own_may_have_other_parsers(tmp_path: Path) -> None:
    problem = next(each for each in judged(tmp_path, OWN_IMAGE, toolCalling="mine")[1] if each.code == "EBB146")
    assert problem.severity == "warning"


@pytest.mark.parametrize(
    ("key", "value"), [("toolCalling", "hermes"), ("reasoning", True), ("chatTemplate", "templates/x.jinja")]
)
def test_keys_of_chat_are_refused_on_other_tasks(tmp_path: Path, key: str, value: Any) -> None:
    assert ("EBB147", key) in codes(judged(tmp_path, task="embed", **{key: value})[1])
    assert "EBB147" not in {each.code for each in judged(tmp_path, task="embed", toolCalling=False)[1]}


# chat templates


def templated(folder: Path, text: str | bytes) -> list[Any]:
    (folder / "templates").mkdir(exist_ok=True)
    (folder / "templates" / "own.jinja").write_bytes(text if isinstance(text, bytes) else text.encode())
    return judged(folder, chatTemplate="templates/own.jinja")[1]


@pytest.mark.parametrize(
    "text",
    [
        CHAT,
        "{% generation %}{{ x|tojson }}{% endgeneration %}",
        "{% for m in x %}{% if m %}{% break %}{% endif %}{% endfor %}{{ raise_exception('no') if y is not defined }}",
        "{{ 9**9**9**9 }}",  # parsed and never computed
    ],
)
def test_what_the_engines_jinja_takes_is_taken(tmp_path: Path, text: str) -> None:
    assert "EBB148" not in {each.code for each in templated(tmp_path, text)}


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a\n{{ x", "is no Jinja in line 2"),
        ("{% evil %}", "is no Jinja in line 1"),
        ("{{ x|evil }}", "no filter of Jinja's: evil"),
        ("{{ x is evil }}", "no test of Jinja's: evil"),
        ("{{ " + "(" * 5000 + "1" + ")" * 5000 + " }}", "nested too deeply"),
        (" \n", "is empty"),
        ("x" * (LARGEST + 1), f"has {LARGEST + 1} bytes"),
        (b"\xff\xfe{{ x }}", "is no UTF-8"),
    ],
)
def test_a_template_that_the_engine_could_not_use_is_refused(tmp_path: Path, text: str | bytes, why: str) -> None:
    problem = next(each for each in templated(tmp_path, text) if each.code == "EBB148")
    assert (problem.path, problem.severity) == ("models.eight.chatTemplate", "error")
    assert why in problem.message


@pytest.mark.parametrize(
    "path",
    [
        *(
            "../own.jinja",
            "templates/../own.jinja",
            "/etc/passwd",
            "own.jinja",
            "templates/own.txt",
            "templates/a/b.jinja",
        ),
        *(
            "templates/.jinja",
            "templates//own.jinja",
            "templates/own.jinja\n",
            "templates/..jinja",
            "{{ x }}",
            3,
            ["x"],
        ),
    ],
)
def test_a_template_lies_in_its_folder_and_nowhere_else(tmp_path: Path, path: Any) -> None:
    (tmp_path / "own.jinja").write_text(CHAT)
    templated(tmp_path, CHAT)
    assert codes(judged(tmp_path, chatTemplate=path)[1])[:1] == [("EBB148", "chatTemplate")]


def test_a_link_is_no_template(tmp_path: Path) -> None:
    (tmp_path / "templates").mkdir()
    (tmp_path / "templates" / "own.jinja").symlink_to("/etc/hostname")
    with pytest.raises(Unusable, match="link"):
        chat_templates.read(tmp_path, "templates/own.jinja")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "own.jinja").write_text(CHAT)
    (tmp_path / "stacks").mkdir()
    (tmp_path / "stacks" / "templates").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Unusable, match="link"):
        chat_templates.read(tmp_path / "stacks", "templates/own.jinja")


def test_no_emergency_lifts_a_template_that_is_not_there(tmp_path: Path) -> None:
    file = write(tmp_path, sections(chatTemplate="templates/none.jinja"))
    judgement = judge_with_records(read_file(file), tmp_path, skip_planner="a fire")
    assert [each.severity for each in judgement.findings if each.code == "EBB148"] == ["error"]


def test_the_template_is_mounted_read_only_and_another_one_makes_other_pods() -> None:
    model = replace(MODEL, chat_template=CHAT, nodes=2, gpus=2)
    config_map = chat_template.config_map(model, "ebbtide-models", {})
    assert config_map is not None
    (file,) = config_map["data"]
    templates = leader_worker_set(model, PLACE)["spec"]["leaderWorkerTemplate"]
    for each in (templates["leaderTemplate"], templates["workerTemplate"]):
        (container,) = each["spec"]["containers"]
        mount = next(m for m in container["volumeMounts"] if m["name"] == "chat-template")
        assert mount["readOnly"]
        assert value_of(container["args"], "--chat-template") == f"{mount['mountPath']}/{file}"
        volume = next(v for v in each["spec"]["volumes"] if v["name"] == "chat-template")
        assert volume["configMap"]["name"] == config_map["metadata"]["name"]
        other = chat_template.pod_annotations(replace(model, chat_template=CHAT + " "))
        assert each["metadata"]["annotations"].items() >= chat_template.pod_annotations(model).items() != other.items()
    assert (chat_template.volumes(MODEL), chat_template.mounts(MODEL), chat_template.pod_annotations(MODEL)) == (
        [],
        [],
        {},
    )


# what the engine starts with


def test_the_kind_reaches_the_engine() -> None:
    settings = replace(MODEL, tool_parser="hermes", reasoning_parser="qwen3", quantization="fp8_per_tensor")
    arguments = engine_arguments(settings, LOCAL, "cuda")
    assert "--enable-auto-tool-choice" in arguments
    assert value_of(arguments, "--tool-call-parser") == "hermes"
    assert value_of(arguments, "--reasoning-parser") == "qwen3"
    assert value_of(arguments, "--quantization") == "fp8_per_tensor"
    plain = engine_arguments(MODEL, LOCAL, "cuda")
    assert not {"--enable-auto-tool-choice", "--reasoning-parser", "--quantization", "--chat-template"} & set(plain)


# quantization while loading

EXPERTS = {
    "architectures": ["Qwen3MoeForCausalLM"], "model_type": "qwen3_moe", "num_experts": 8, "num_experts_per_tok": 2,
    "moe_intermediate_size": 768,
}  # fmt: skip


def test_the_table_and_the_key_have_the_same_methods() -> None:
    assert set(get_args(OnLoad)) == set(table().on_load)


def test_the_memory_plan_counts_the_layers_that_get_smaller_and_no_others(tmp_path: Path) -> None:
    plain, smaller = (plan(tmp_path, EIGHT, quantization=each).models[0] for each in (None, "fp8_per_tensor"))
    assert plain.memory is not None
    assert smaller.memory is not None
    layers = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 3 * 4096 * 14336)  # a byte less for each of these weights
    assert plain.memory.weights - smaller.memory.weights == layers
    assert smaller.fetched == plain.fetched  # the files are what they were
    halves = plan(tmp_path, EIGHT, quantization="mxfp4").models[0].memory
    assert halves is not None
    assert plain.memory.weights - halves.weights == int(layers * (2 - 4.25 / 8))


def test_experts_alone_get_smaller_where_the_method_is_for_them(tmp_path: Path) -> None:
    model = facts(**EXPERTS)
    plain, smaller = (
        plan(tmp_path, model, quantization=each).models[0].memory for each in (None, "int8_per_channel_weight_only")
    )
    assert plain is not None
    assert smaller is not None
    assert plain.weights - smaller.weights == int(32 * 8 * 3 * 4096 * 768 * (2 - 1.002))


def test_a_model_fits_that_did_not(tmp_path: Path) -> None:
    large = {"num_hidden_layers": 56}
    assert "25 models.eight.gpus" in problems_of(plan(tmp_path, facts(**large)))
    assert "25 models.eight.gpus" not in problems_of(plan(tmp_path, facts(**large), quantization="fp8_per_channel"))


@pytest.mark.parametrize(
    ("config", "method", "model", "why"),
    [
        ({"quantization_config": {"quant_method": "awq", "bits": 4}}, "fp8_per_tensor", {}, "comes quantized already"),
        ({}, "int8_per_channel_weight_only", {}, "has none"),
        ({}, "fp8_per_tensor", {"dtype": "float32"}, "dtype is float32"),
    ],
)
def test_what_the_engine_would_stop_at_is_refused(
    tmp_path: Path, config: dict[str, Any], method: str, model: dict[str, Any], why: str
) -> None:
    problem = problems_of(plan(tmp_path, facts(**config), quantization=method, **model))[
        "149 models.eight.quantization"
    ]
    assert why in problem.message


def test_a_card_that_cannot_compute_it_is_told(tmp_path: Path) -> None:
    assert "249 models.eight.quantization" in problems_of(
        plan(tmp_path, EIGHT, quantization="fp8_per_channel")
    )  # an A10G
    ada = {"pools.one.machine": "g6.8xlarge"}
    assert "249 models.eight.quantization" not in problems_of(
        plan(tmp_path, EIGHT, ada, quantization="fp8_per_channel")
    )


def test_parts_that_are_no_whole_blocks_are_refused(tmp_path: Path) -> None:
    many = {"pools.one.machine": "g5.12xlarge", "models.eight.gpus": 4}
    narrow = facts(intermediate_size=14400)
    assert (
        "intermediate_size 14400"
        in problems_of(plan(tmp_path, narrow, many, quantization="mxfp8"))["242 models.eight.gpus"].message
    )
    assert "242 models.eight.gpus" not in problems_of(plan(tmp_path, narrow, many, quantization="fp8_per_tensor"))


@pytest.mark.parametrize(("value", "fix"), [("fp8", "fp8_per_tensor?"), ("awq", "choose"), ("mxfp5", "mxfp")])
def test_a_method_that_the_engine_does_not_make_is_refused_with_the_nearest(
    tmp_path: Path, value: str, fix: str
) -> None:
    problem = next(each for each in judged(tmp_path, quantization=value)[1] if each.code == "EBB104")
    assert fix in problem.fix


# images


def test_nothing_says_that_an_image_model_can_be_served(tmp_path: Path) -> None:
    read = as_json(answered(FitOptions(model="flux.1-schnell", gpu="H200")))
    assert not read["fits"]
    assert ("EBB245", "MODEL") in [(each["code"], each["path"]) for each in read["findings"]]
    assert "makes images, and no engine here serves that" in read["reason"]
    _, findings = of_preset(tmp_path, "flux.1-schnell")
    assert ("EBB245", "id") in codes(findings)
    problem = next(each for each in judged(tmp_path, task="image")[1] if each.path.endswith("task"))
    assert problem.severity == "error"
    assert presets.find("flux.1-schnell") is not None


@pytest.mark.parametrize(
    ("key", "arguments"),
    [
        ("toolCalling", ["--enable-auto-tool-choice", "--tool-call-parser=llama3_json"]),
        ("reasoning", ["--reasoning-parser", "qwen3"]),
        ("quantization", ["--quantization=fp8"]),
    ],
)
def test_a_flag_by_hand_is_taken_without_its_key_and_refused_beside_it(
    key: str, arguments: list[str], tmp_path: Path
) -> None:
    value = {"toolCalling": "hermes", "reasoning": "deepseek_r1", "quantization": "fp8_per_tensor"}[key]
    _, alone = judged(tmp_path, extraArgs=arguments)
    assert "EBB051" not in {each.code for each in alone}
    _, beside = judged(tmp_path, extraArgs=arguments, **{key: value})
    assert next(each.path for each in beside if each.code == "EBB051") == "models.eight.extraArgs[0]"
