"""Flags, variables, packages and images that reach the engine by data alone: those on no list need an owner."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.catalog.engine_allowed import engine_allowed
from components.catalog.versions import pinned
from components.model_service.managed_flags import MANAGED_VARIABLES, managed_flag, secret_flag, unsafe_flag
from infra.planner.judgement import judge as judge_stack
from infra.stackfile.findings.finding import Finding
from infra.stackfile.findings.owner_needed import needs_owner
from infra.stackfile.findings.registry import rules
from infra.stackfile.load import read_file
from infra.workspace import PROJECT
from tests.unit.plan_kit import EIGHT, sections, write

DIGEST = "sha256:" + "ab" * 32


def owners(folder: Path, changes: dict[str, Any] | None = None, **models: Any) -> list[Finding]:
    judgement = judge_stack(read_file(write(folder, sections(changes, **models))), lambda _: EIGHT)
    # the engine's own parser may stop at it besides, or the pod lack what it names
    stops = {finding.code for finding in judgement.findings if finding.stops}
    assert stops <= {"EBB069", "EBB067", "EBB068"}, judgement.findings
    return needs_owner(judgement.findings)


FOREIGN = (
    # code by a path, in every spelling of the parser
    ["--tool-parser-plugin=/models/x.py"], ["--tool-parser-pl=/models/x.py"], ["--tool_parser_pl", "/models/x.py"],
    ["--reasoning-parser-plugin", "/models/x.py"], ["--reasoning-parser-p=/models/x.py"],
    # code by the path of a class
    ["--worker-extension-cls=evil.Worker"], ["--worker-ext=evil.Worker"], ["--worker-cls", "evil.Worker"],
    ["--scheduler-cls=evil.S"], ["--logits-processors", "evil:L"], ["--middleware=evil.M"], ["--middl=evil.M"],
    ["--io-processor-plugin=evil"],
    # JSON and its dotted forms
    ['--hf-overrides={"architectures": ["X"]}'], ["--hf-overrides.x=1"], ["--compilation-config.x=1"], ["-cc.mode=3"],
    ["-O3"], ['--additional-config={"a": 1}'], ["--kv-transfer-config", '{"kv_connector": "X"}'],
    ['--speculative-config={"model": "a/b"}'], ["--model-loader-extra-config={}"], ["--limit-mm-per-prompt={}"],
    # files and addresses
    ["--chat-template=/models/x.jinja"], ["--tokenizer", "evil/tokenizer"], ["--hf-config-path=evil/config"],
    ["--generation-config=/models"], ["--otlp-traces-endpoint=http://x"], ["--lora-modules", "a=evil/lora", "b=x/y"],
    ["--ssl-certfile=/x"], ["--log-config-file=/x"],
    # names that a plugin or a class path could stand behind
    ["--tool-call-parser=evil"], ["--reasoning-parser", "evil"], ["--attention-backend=CUSTOM"],
    ["--quantization=evil"], ["--tokenizer-mode=evil"], ["--config-format=evil"],
    # listed flags that are not spelled in full, have no value, a second one, or another kind of value
    ["--enforce-eag"], ["--enable-prefix"], ["--ENFORCE-EAGER"], ["--seed"], ["--seed=x"], ["--enforce-eager=1"],
    ["--seed 1"], [" --enforce-eager"], ["--enforce-eager "], ["--enforce-eager.x"], ["-q", "fp8"],
    # what the engine takes for a model, or for the end of its flags
    ["evil/model"], ["--enforce-eager", "evil/model"], ["--seed=1", "evil/model"], ["--"],
)  # fmt: skip


@pytest.mark.parametrize("arguments", FOREIGN, ids=" ".join)
def test_an_argument_that_is_not_on_the_list_needs_an_owner(tmp_path: Path, arguments: list[str]) -> None:
    problems = owners(tmp_path, extraArgs=arguments)
    assert [finding.code for finding in problems] == ["EBB060"]
    assert all("a code owner has to agree" in finding.message and finding.severity == "warning" for finding in problems)
    assert problems[0].path.startswith("models.eight.extraArgs[")


HARMLESS = (
    ["--enforce-eager"], ["--no-enable-prefix-caching"], ["--enforce_eager"], ["--seed", "1"], ["--seed=-1"],
    ["--seed", "-1"], ["--max-num-batched-tokens=8192"], ["--max_num_batched_tokens", "8k"],
    ["--tool-call-parser", "hermes", "--enable-auto-tool-choice"], ["--reasoning-parser=deepseek_r1"],
    ["--quantization=fp8", "--kv-cache-dtype", "fp8"], ["--cpu-offload-gb=4.5"], ["--generation-config=vllm"],
)  # fmt: skip


@pytest.mark.parametrize("arguments", HARMLESS, ids=" ".join)
def test_an_argument_on_the_list_passes_in_full(tmp_path: Path, arguments: list[str]) -> None:
    assert owners(tmp_path, extraArgs=arguments) == []


def test_each_argument_is_told_where_it_stands_and_once(tmp_path: Path) -> None:
    arguments = ["--seed", "1", "--lora-modules", "a=b", "c=d", "--enforce-eager", "x/y", "--tool-parser-pl=/x"]
    problems = owners(tmp_path, extraArgs=arguments)
    assert [finding.path for finding in problems] == [f"models.eight.extraArgs[{index}]" for index in (2, 6, 7)]


def test_a_listed_flag_that_is_cut_short_is_told_in_full(tmp_path: Path) -> None:
    (finding,) = owners(tmp_path, extraArgs=["--enforce-eag"])
    assert finding.fix == "write --enforce-eager in full"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("VLLM_PLUGINS", "evil"), ("PYTHONPATH", "/models"), ("LD_PRELOAD", "/models/x.so"), ("PYTHONSTARTUP", "/x"),
        ("VLLM_LORA_RESOLVER_HF_REPO_LIST", "evil/lora"), 
        ("VLLM_RUST_FRONTEND_PATH", "/x"), ("VLLM_MODEL_REDIRECT_PATH", "/x"), ("HF_ENDPOINT", "http://x"),
        ("VLLM_USE_MODELSCOPE", "1"), ("VLLM_NCCL_SO_PATH", "/x.so"), ("VLLM_LOGGING_LEVEL", "DEBUG"),
        ("OMP_NUM_THREADS", "4; x"), ("omp_num_threads", "4"), ("VLLM_TUNED_CONFIG_FOLDER", "/x"),
    ],
)  # fmt: skip
def test_a_variable_that_is_not_on_the_list_needs_an_owner(tmp_path: Path, name: str, value: str) -> None:
    (finding,) = owners(tmp_path, extraEnv={name: value, "OMP_NUM_THREADS": value if "OMP" in name[:3] else "4"})
    assert (finding.code, finding.path) == ("EBB060", f"models.eight.extraEnv.{name}")


@pytest.mark.parametrize(
    ("package", "listed"),
    [
        ("hf-transfer==0.1.9", True), ("HF_transfer==0.1.9", True), ("hf.transfer==0.1.9", True),
        ("hf-transfer==0.1.8", False), ("hf-transfer==0.1.9.post1", False), ("hf-transfer[x]==0.1.9", False),
        ("hf-transfer==0.1.9+evil", False), ("hf-transfers==0.1.9", False), ("vllm==0.33.0", False),
        ("evil-plugin==1.0.0", False),
    ],
)  # fmt: skip
def test_a_package_is_on_the_list_by_name_and_version(tmp_path: Path, package: str, listed: bool) -> None:
    problems = owners(tmp_path, {"image.extraPackages": [package]})
    assert [finding.path for finding in problems] == ([] if listed else ["image.extraPackages[0]"])


@pytest.mark.parametrize(
    "base",
    [
        f"docker.io/evil/vllm-openai:v0.32.0@{DIGEST}", f"registry.example.com/vllm:v0.32.0@{DIGEST}",
        # a digest says what an image is, whatever name and tag stand before it
        f"docker.io/vllm/vllm-openai:v0.32.0@{DIGEST}", f"vllm/vllm-openai@{DIGEST}",
    ],
)  # fmt: skip
def test_a_base_image_that_is_not_on_the_list_needs_an_owner(tmp_path: Path, base: str) -> None:
    (finding,) = owners(tmp_path, {"image.base": base})
    assert (finding.code, finding.path) == ("EBB060", "image.base")


def test_what_other_rules_refuse_is_told_once(tmp_path: Path) -> None:
    document = sections(extraArgs=["--max-model-len", "1", "--tool-server=demo", "--api-key=correct-horse-battery"])
    document["models"]["eight"]["extraEnv"] = {"VLLM_CACHE_ROOT": "/tmp", "VLLM_SERVER_DEV_MODE": "1"}
    findings = read_file(write(tmp_path, document)).findings
    assert sorted(finding.code for finding in findings) == ["EBB049", "EBB051", "EBB051", "EBB052", "EBB052"]


def test_the_list_holds_nothing_that_other_rules_refuse_and_no_kind_of_value_that_could_load_code() -> None:
    listed = engine_allowed()
    assert not [flag for flag in listed.flags if managed_flag(flag) or unsafe_flag(flag) or secret_flag(flag)]
    assert not (listed.variable_numbers | set(listed.variable_words)) & set(MANAGED_VARIABLES)
    words = {word for each in (*listed.words.values(), *listed.variable_words.values()) for word in each}
    assert not [word for word in words if re.search(r"[/\\{}\s]|\.py$|https?:", word)]
    foreign = re.compile(r".*(plugin.*|-(cls|path|config|endpoint|template|modules|parameters|middleware))")
    assert [flag for flag in listed.flags if foreign.fullmatch(flag)] == ["--generation-config"]  # two words, no path


def test_the_list_was_read_for_the_engine_that_is_pinned() -> None:
    assert engine_allowed().engine == pinned("vllm").version


def test_shipped_stacks_and_examples_need_no_owner() -> None:
    for file in sorted((PROJECT / "stacks").glob("Pulumi.*.yaml")):
        assert needs_owner(read_file(file).findings) == [], file.name


def test_every_code_that_needs_an_owner_is_a_warning_that_says_so() -> None:
    marked = [rule for rule in rules() if rule.owner]
    assert {rule.code for rule in marked} == {"EBB060", "EBB063", "EBB208", "EBB250", "EBB281"}
    assert all(
        rule.severities == ("warning",) and "a code owner has to agree" in rule.title.replace("\n", " ")
        for rule in marked
    )


def test_the_stack_files_of_the_docs_need_no_owner() -> None:
    for page in (PROJECT / "docs").rglob("*.md"):
        for block in re.findall(r"extraArgs: (\[[^\]]*\])", page.read_text()):
            arguments = [str(each) for each in yaml.safe_load(block)]
            assert list(engine_allowed().unlisted(arguments)) == [], page.name


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"models.eight.extraArgs": ["--lora-modules", "a=x/y"]},
         {"models.eight.extraArgs": ["--lora-modules", "a=z/y"]}),
        ({"models.eight.extraArgs": [f"--x={'a' * 99}b"]}, {"models.eight.extraArgs": [f"--x={'a' * 99}c"]}),
        ({"models.eight.extraEnv": {"PYTHONPATH": "/a"}}, {"models.eight.extraEnv": {"PYTHONPATH": "/b"}}),
        ({"image.base": f"registry.example.com/vllm:v0.32.0@{DIGEST}"},
         {"image.base": f"registry.example.com/vllm:v0.32.0@sha256:{'ab' * 31}cd"}),
        ({"platform.cluster.systemPool": {"machine": "m7i.48xlarge", "min": 1, "max": 2}},
         {"platform.cluster.systemPool": {"machine": "m7i.48xlarge", "min": 1, "max": 9}}),
        ({"pools.one": {"machine": "p5e.48xlarge", "max": 1, "pricePerHour": 20}},
         {"pools.one": {"machine": "p5e.48xlarge", "max": 2, "pricePerHour": 20}}),
    ],
    ids=["values of a flag", "a long value", "a variable", "a digest", "more nodes", "more of a pool"],
)  # fmt: skip
def test_an_owner_agrees_to_one_value_and_not_to_the_next(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any]
) -> None:
    (first,), (again,), (other,) = (owners(tmp_path, changes) for changes in (before, before, after))
    assert first.owner == again.owner != other.owner
