"""``ebbtide plan`` and ``ebbtide fit`` from outside: text and a status, quickly, never a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest

from infra import cli
from infra.commands import plan
from infra.workspace import PROJECT
from tests.unit.plan_kit import CONFIG, sections, write

LATER = date.today() + timedelta(days=30)
Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def ebbtide(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    monkeypatch.setenv("EBBTIDE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "120")

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["ebbtide", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        out, err = capsys.readouterr()
        assert "Traceback" not in out + err
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text(json.dumps(CONFIG))
    return tmp_path


def planned(folder: Path, *more: str, **changes: Any) -> list[str]:
    """The command line for a stack of the tests, whose model has the facts in ``folder``."""
    file = write(folder, sections(**changes))
    return [
        "plan",
        "-s",
        "test",
        "--config-file",
        str(file),
        "--model-dir",
        f"eight={folder}/model",
        *more,
    ]


def test_status_is_zero_with_warnings_one_with_errors_two_for_wrong_usage(ebbtide: Run, folder: Path) -> None:
    code, out, _ = ebbtide(*planned(folder, "--format", "json"))
    read = json.loads(out)
    assert (code, read["verdict"]) == (0, "warnings")  # nobody knows whether a folder's model has a chat template
    assert [each["severity"] for each in read["findings"]] == ["warning"] * len(read["findings"])
    code, out, _ = ebbtide(*planned(folder, "--format", "json", maxTokens=131072))
    assert (code, json.loads(out)["verdict"]) == (1, "errors")
    assert "EBB026" in out
    code, _, err = ebbtide("plan", "-s", "aws-prd")
    assert code == 2
    assert "did you mean aws-prod?" in err
    for wrong in (["--format", "pdf"], ["--model-dir", "x"], ["--measured", "/nowhere"], ["--against", "no-such-ref"]):
        code, out, err = ebbtide(*planned(folder, *wrong))
        assert code == 2, wrong
        assert "error: " in out + err


def test_all_findings_of_a_refused_file_come_with_what_the_plan_finds(ebbtide: Run, folder: Path) -> None:
    document = sections(maxTokens=131072, gpuMemoryUtilization=0.95)
    document["models"]["broken"] = {**document["models"]["eight"], "gpus": 0}
    document["guard"]["maxGpus"] = -1
    file = write(folder, document)
    code, out, _ = ebbtide(
        *("plan", "-s", "test", "--config-file", str(file), "--format", "json"),
        *("--model-dir", f"eight={folder}/model"),
    )
    read = json.loads(out)
    codes = {each["code"] for each in read["findings"]}
    assert code == 1
    assert {"EBB001", "EBB111", "EBB026"} <= codes
    assert [model["name"] for model in read["models"]] == ["eight"]
    assert read["graph"] is None


def test_a_waiver_of_the_project_lets_a_plan_pass_and_says_who_answers_for_it(
    ebbtide: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = write(folder, sections({"models.eight.revision": "main"}))
    command = ["plan", "-s", "test", "--config-file", str(file), "--format", "json"]
    assert ebbtide(*command)[0] == 1
    entry = {"rule": "pinned-revision", "resource": "*eight*", "owner": "platform team", "expiry": LATER.isoformat()}
    (folder / "waivers.yaml").write_text(
        json.dumps({"waivers": [{**entry, "reason": "the vendor tags its commits from May on"}, {"rule": "x"}]})
    )
    monkeypatch.setattr(plan, "WAIVERS_FILE", folder / "waivers.yaml")
    code, out, _ = ebbtide(*command)
    document = json.loads(out)
    (finding,) = [each for each in document["findings"] if each["code"] == "EBB020"]
    assert (code, finding["severity"]) == (0, "warning")
    assert finding["message"].endswith(f"(waived by platform team until {LATER})")
    assert any("waivers.yaml: waivers[1].owner: is missing" in note for note in document["notes"])


def test_a_secret_in_a_refused_file_is_in_no_format(ebbtide: Run, folder: Path) -> None:
    token = "hf_" + "Ab3dEf7hIj" * 4
    for form in ("text", "md", "json", "html"):
        code, out, err = ebbtide(*planned(folder, "--format", form, extraEnv={"HF_TOKEN": token}))
        assert code == 1
        assert token not in out + err
        assert "EBB04" in out


@pytest.mark.parametrize(
    "text", ["", "config: 3", "a: [", "config: {ebbtide:models: 4}", "\x00", "config: {ebbtide:platform: {kind: moon}}"]
)
def test_a_file_that_is_no_stack_is_findings_in_every_format(ebbtide: Run, tmp_path: Path, text: str) -> None:
    file = tmp_path / "Pulumi.bad.yaml"
    file.write_text(text)
    for form in ("text", "md", "json", "html"):
        code, out, _ = ebbtide("plan", "-s", "bad", "--config-file", str(file), "--format", form)
        assert code == 1
        assert "EBB" in out


def test_out_writes_the_same_and_says_where_it_cannot(ebbtide: Run, folder: Path) -> None:
    _, printed, _ = ebbtide(*planned(folder, "--format", "html"))
    code, out, _ = ebbtide(*planned(folder, "--format", "html", "--out", str(folder / "plan.html")))
    assert (code, out) == (0, "")
    assert (folder / "plan.html").read_text() == printed
    code, _, err = ebbtide(*planned(folder, "--out", str(folder / "no" / "plan.txt")))
    assert code == 2
    assert "no such file or directory" in err


def test_against_a_file_shows_what_changes(ebbtide: Run, folder: Path) -> None:
    other = write(folder, sections({"pools.one.max": 5}), "Pulumi.other.yaml")
    code, out, _ = ebbtide(*planned(folder, "--against", str(other), "--format", "json"))
    assert code == 0
    differences = {each["path"]: (each["before"], each["after"]) for each in json.loads(out)["changes"]}
    assert differences["pools.one.max"] == (5, 2)
    _, out, _ = ebbtide(*planned(folder, "--against", str(folder / "Pulumi.test.yaml")))
    assert "no difference" in out


def test_against_a_revision_reads_the_stack_as_it_was(ebbtide: Run) -> None:
    subprocess.run(["git", "rev-parse", "--verify", "HEAD:stacks/Pulumi.onprem.yaml"], cwd=PROJECT, check=True)
    _, out, err = ebbtide("plan", "-s", "onprem", "--against", "HEAD", "--format", "json")
    assert not err
    assert json.loads(out)["against"] == "HEAD:stacks/Pulumi.onprem.yaml"


def test_measured_seconds_are_used(ebbtide: Run, folder: Path) -> None:
    (folder / "measured.yaml").write_text("image: 7")
    _, out, _ = ebbtide(*planned(folder, "--format", "json", "--measured", str(folder / "measured.yaml")))
    phases = {each["name"]: each for each in json.loads(out)["cold_path"][0]["phases"]}
    assert (phases["image"]["seconds"], phases["image"]["by"]) == (7.0, "given")


def test_a_missing_sdk_is_a_note_and_the_plan_goes_on(
    ebbtide: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from infra.recorder import command

    def missing(*whatever: object) -> object:
        try:
            raise ModuleNotFoundError("No module named 'pulumi_aws'", name="pulumi_aws")
        except ModuleNotFoundError as error:
            raise command.GraphProblem("the program stopped") from error

    monkeypatch.setattr(command, "recording_of", missing)
    code, out, _ = ebbtide(*planned(folder, "--format", "json", "--graph"))
    read = json.loads(out)
    assert (code, read["graph"]) == (0, None)
    assert "pip install 'ebbtide[aws]'" in " ".join(read["notes"])
    assert read["models"][0]["memory"]["fits"]


def test_resources_are_counted_where_they_are_asked_for(
    ebbtide: Run, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from infra.commands import plan_graph
    from infra.planner.report.document import ResourceCounts

    asked: list[str] = []
    monkeypatch.setattr(
        plan_graph, "graph_of", lambda file, stack, kind: asked.append(kind) or ResourceCounts(2, 1, {"a:b:C": 2})
    )
    _, out, _ = ebbtide(*planned(folder, "--format", "json"))
    assert (asked, json.loads(out)["graph"], json.loads(out)["notes"]) == ([], None, [])
    _, out, _ = ebbtide(*planned(folder, "--format", "json", "--graph"))
    assert (asked, json.loads(out)["graph"]["resources"]) == (["aws"], 2)


def test_what_was_counted_is_kept_until_anything_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from infra.commands import plan_graph
    from infra.commands.plan_graph import graph_of
    from infra.planner.report.document import ResourceCounts

    monkeypatch.setenv("EBBTIDE_CACHE", str(tmp_path / "cache"))
    asked: list[str] = []

    def recorded(file: Path, stack: str, kind: str) -> ResourceCounts:
        asked.append(kind)
        return ResourceCounts(2, 1, {"a:b:C": 2})

    monkeypatch.setattr(plan_graph, "_recorded", recorded)
    file = write(tmp_path, sections())
    first = graph_of(file, "test", "aws")
    assert graph_of(file, "test", "aws") == first
    assert len(asked) == 1
    write(tmp_path, sections({"pools.one.max": 3}))
    graph_of(file, "test", "aws")
    graph_of(file, "other", "aws")
    assert len(asked) == 3
    # a place whose program looks at this machine is asked each time
    graph_of(file, "test", "existing")
    graph_of(file, "test", "existing")
    assert len(asked) == 5
    for kept in (tmp_path / "cache" / "graphs").iterdir():
        kept.write_text("{")
    graph_of(file, "test", "aws")
    assert len(asked) == 6


@pytest.mark.slow
@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "llama-3.1-8b", "--gpu", "A10G", "--format", "json"],
        ["fit", "llama-3.1-8b", "--cloud", "aws"],
        ["plan", "-s", "aws-prod", "--format", "json"],
        ["plan", "-s", "onprem"],
        ["plan", "-s", "gcp-dev", "--format", "md"],
        ["plan", "-s", "azure-dev", "--format", "text"],
    ],
)
def test_it_starts_without_what_takes_seconds_to_import(arguments: list[str], tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "infra.cli", *arguments],
        capture_output=True, text=True, cwd=PROJECT, check=False, timeout=60,
        env={**os.environ, "EBBTIDE_CACHE": str(tmp_path)},
    )  # fmt: skip
    assert done.returncode in (0, 1), done.stderr
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
    slow = {"huggingface_hub", "httpx", "kubernetes", "jinja2", "grpc"}
    slow |= {each for each in imported if each.startswith("pulumi")}
    if "json" in arguments:
        slow.add("rich")
    assert imported & {"infra", "yaml"}
    assert imported & slow == set()


@pytest.mark.slow
def test_many_models_with_findings_come_out_whole(ebbtide: Run, tmp_path: Path) -> None:
    document = sections()
    document["models"] = {f"m-{i}": {**document["models"]["eight"], "maxTokens": 8192 + i} for i in range(200)}
    file = write(tmp_path, document)
    for form in ("text", "md", "json", "html"):
        _, out, _ = ebbtide("plan", "-s", "test", "--config-file", str(file), "--format", form)
        assert "m-199" in out


def test_the_help_of_both_commands_is_whole(ebbtide: Run) -> None:
    for command, options in (("plan", ("--against", "--format", "--measured", "--out")), ("fit", ("--gpu", "--tp"))):
        code, out, _ = ebbtide(command, "--help")
        assert code == 0
        assert all(option in out for option in options)


def test_counting_resources_says_no_warning_a_second_time(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from infra.commands import plan_graph
    from infra.recorder import command

    class Recording:
        records = ()

    def recorded(source: object, stack: str) -> Recording:
        print("the stack's own warning, as the program logs it", file=sys.stderr)
        return Recording()

    monkeypatch.setattr(command, "recording_of", recorded)
    assert plan_graph._recorded(write(folder, sections()), "test", "aws").total == 0
    assert capsys.readouterr().err == ""
