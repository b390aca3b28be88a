"""``ebbtide graph``: what it writes, what it says when it cannot, and what it does without."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes.config import kube_config

from infra.recorder import command, fake_local_facts
from tests.program.graph_reading import ALL_STACKS, recording, strings

PROJECT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def bare_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No cluster, no home, no credentials, no network."""
    for name in [key for key in os.environ if key.startswith(("AWS_", "AZURE_", "GOOGLE_", "ARM_", "KUBE", "PULUMI_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EBBTIDE_STATE", str(tmp_path / "state"))

    def refuse(*whatever: Any) -> Any:
        raise AssertionError("the graph asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(kube_config, "load_kube_config", refuse)


def changed(tmp_path: Path, stack: str, change: Callable[[dict[str, Any]], None]) -> str:
    content = yaml.safe_load((command.STACKS / f"Pulumi.{stack}.yaml").read_text())
    change(content["config"])
    file = tmp_path / f"Pulumi.{stack}.yaml"
    file.write_text(yaml.safe_dump(content, sort_keys=False))
    return str(file)


@pytest.mark.parametrize("stack", ALL_STACKS)
def test_every_stack_has_a_graph_on_a_bare_machine(
    stack: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "graph.json"
    assert command.show(stack, None, str(out)) == 0
    assert "late value" not in capsys.readouterr().err, "a note for who looks into the program, on request only"
    assert {entry["custom"] for entry in json.loads(out.read_text())} == {True, False}


def test_the_graph_goes_to_standard_output_and_every_word_about_it_to_standard_error(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.show("local", None, None) == 0
    printed = capsys.readouterr()
    assert len(json.loads(printed.out)) == len(recording("local").records)
    assert "made up" in printed.err


def test_what_a_machine_that_is_not_up_would_tell_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    command.show("local", None, None)
    graph = json.loads(capsys.readouterr().out)
    (provider,) = [entry for entry in graph if entry["type"] == "pulumi:providers:kubernetes"]
    assert provider["inputs"]["kubeconfig"] == f"/{fake_local_facts.MARK}/kubeconfig"
    digests = [text for entry in graph for text in strings(entry["inputs"]) if "@sha256:" in text]
    assert digests
    assert all(fake_local_facts.MARK in text and text.endswith("0" * 64) for text in digests)


def test_an_unknown_stack_is_refused_with_those_there_are(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.show("aws-pord", None, None) == 1
    printed = capsys.readouterr()
    assert printed.err.strip() == f"error: 'aws-pord' is not a stack; allowed: {', '.join(ALL_STACKS)}"
    assert printed.out == ""


def test_every_finding_of_a_bad_stack_file_is_printed_and_nothing_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def spoil(config: dict[str, Any]) -> None:
        model = config["ebbtide:models"]["llama-8b"]
        model["idleTtl"], model["pool"] = "1s", "gpu-1xb200"

    out = tmp_path / "graph.json"
    assert command.show("onprem", changed(tmp_path, "onprem", spoil), str(out)) == 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["models.llama-8b.pool", "models.llama-8b.idleTtl"]
    assert not out.exists()


def test_a_file_that_cannot_be_read_or_written_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command.show("onprem", str(tmp_path / "none.yaml"), None) == 1
    assert "there is no such file" in capsys.readouterr().err
    assert command.show("onprem", None, str(tmp_path / "none" / "graph.json")) == 1
    assert "fix: give another --out" in capsys.readouterr().err


def test_a_program_that_stops_says_where_and_shows_no_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(*whatever: Any) -> Any:
        raise LookupError("no such machine")

    monkeypatch.setattr("infra.program.platform.create", stop)
    assert command.show("onprem", None, None) == 1
    printed = capsys.readouterr().err
    assert printed.startswith("error: the program stopped: LookupError: no such machine")
    assert "Traceback" not in printed


def test_an_encrypted_value_of_another_namespace_needs_no_key(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def encrypt(config: dict[str, Any]) -> None:
        config["other:token"] = {"secure": "v1:abc:def"}

    assert command.show("onprem", changed(tmp_path, "onprem", encrypt), None) == 0
    assert "v1:abc" not in capsys.readouterr().out


def test_the_graph_of_a_file_is_the_graph_of_what_is_in_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def rename(config: dict[str, Any]) -> None:
        config["ebbtide:models"]["mine"] = config["ebbtide:models"].pop("llama-8b")
        config["ebbtide:gateway"]["groups"]["everyone"]["models"] = ["mine"]

    assert command.show("onprem", changed(tmp_path, "onprem", rename), None) == 0
    names = {entry["name"] for entry in json.loads(capsys.readouterr().out)}
    assert "mine-deployment" in names
    assert not [name for name in names if "llama" in name]


@pytest.mark.slow
def test_two_processes_write_the_same_letters(tmp_path: Path) -> None:
    written = []
    for seed in ("1", "2"):
        out = tmp_path / f"{seed}.json"
        argv = [sys.executable, "-m", "infra.cli", "graph", "--stack", "gcp-prod", "--out", str(out)]
        subprocess.run(argv, cwd=PROJECT, env={**os.environ, "PYTHONHASHSEED": seed}, check=True, capture_output=True)
        written.append(out.read_text())
    assert written[0] == written[1]
