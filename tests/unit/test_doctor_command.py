"""``ebbtide doctor``: checks run at once, each with an end; what does not answer hides nothing, and Ctrl-C works."""

from __future__ import annotations

import ast
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeGuard

import httpx
import pytest
import yaml

from components.platforms.checkup import Answer, CannotAsk, Check, good, within
from components.platforms.kinds import KINDS
from infra.commands import doctor
from infra.commands.options import DoctorOptions
from tests.unit.doctor_kit import PROJECT, Simulated


def _fine() -> Iterator[Answer]:
    yield good("there")


def _never() -> Iterator[Answer]:
    threading.Event().wait()
    yield good("too late")


def _shut() -> Iterator[Answer]:
    yield good("lost")
    raise CannotAsk("no right to ask", "ask for it")


def test_a_check_that_never_answers_is_said_and_the_others_stand_in_their_order() -> None:
    checks = [Check(subject="a", ask=_never), Check(subject="b", ask=_fine), Check(subject="c", ask=_shut)]
    begun = time.monotonic()
    lines = list(doctor.answered(checks, seconds=0.3))
    assert time.monotonic() - begun < 5
    assert [(subject, answer.outcome) for subject, answer in lines] == [("a", "unknown"), ("b", "ok"), ("c", "unknown")]
    assert "no answer within 0.3 s" in lines[0][1].text


def test_all_are_asked_at_once() -> None:
    meeting = threading.Barrier(8)

    def together() -> Iterator[Answer]:
        meeting.wait(timeout=5)
        yield good("met")

    lines = doctor.answered([Check(subject=str(index), ask=together) for index in range(8)], seconds=8)
    assert {answer.text for _, answer in lines} == {"met"}


def test_an_interruption_ends_it_at_once() -> None:
    def interrupted(number: int, frame: FrameType | None) -> NoReturn:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupted)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    begun = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt):
            list(doctor.answered([Check(subject="a", ask=_never)], seconds=30))
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert time.monotonic() - begun < 5


SOURCES = [
    *(PROJECT / "components/platforms").glob("*/doctor.py"),
    *(PROJECT / f"components/platforms/{name}.py" for name in ("bearer", "cluster_checks", "aws/api")),
]


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: f"{file.parent.name}/{file.name}")
def test_no_call_leaves_but_through_the_guard_that_lets_reading_ones_alone_pass(file: Path) -> None:
    called = {node.func.attr for node in ast.walk(ast.parse(file.read_text())) if _is_call_of_attribute(node)}
    assert called & {"put", "patch", "delete", "request", "send", "stream", "Client", "AsyncClient", "urlopen"} == set()
    assert called & {"Popen", "system", "check_output", "call_process"} == set()


def _is_call_of_attribute(node: ast.AST) -> TypeGuard[Any]:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)


def test_every_place_has_a_doctor() -> None:
    assert {name for name, kind in KINDS.items() if kind.doctor() is None} == set()


def test_an_address_that_is_none_is_said() -> None:
    with pytest.raises(CannotAsk, match="not one of the web"):
        Simulated(lambda request: httpx.Response(200)).tools().get("https://registry.test:port/v2/")


def test_what_has_one_reason_stands_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    shut = CannotAsk("no right to ask", "ask for it").answer()
    text = list(doctor._text([("a", shut), ("b", good("there")), ("c", shut)]))
    assert text[0] == "ok       b: there"
    assert text[1].startswith("unknown  a; c: cannot be asked: no right to ask")
    assert text[2] == "1 ok, 0 with a problem, 2 that could not be asked"


@pytest.mark.parametrize(
    ("needed", "limit", "used", "outcome"), [(4, 4, 0, "ok"), (4, 4, 1, "problem"), (5, 4, None, "problem")]
)
def test_a_quota_counts_what_is_in_use(needed: float, limit: float, used: float | None, outcome: str) -> None:
    assert within(needed, limit, used, "GPUs", "ask for more").outcome == outcome


def test_a_stack_that_is_not_there_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert doctor.run(DoctorOptions(stack="aws-devv")) == 2
    assert "did you mean aws-dev?" in capsys.readouterr().err


def test_the_command_itself_ends_at_once_when_it_is_interrupted(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(30)
        server = {"server": f"http://127.0.0.1:{silent.getsockname()[1]}"}
        contexts = [{"name": "gpu-cluster", "context": {"cluster": "c", "user": "u"}}]
        clusters, users = [{"name": "c", "cluster": server}], [{"name": "u", "user": {}}]
        kubeconfig = {"contexts": contexts, "clusters": clusters, "users": users, "current-context": "gpu-cluster"}
        (tmp_path / "config").write_text(yaml.safe_dump(kubeconfig))
        text = (PROJECT / "stacks/Pulumi.onprem.yaml").read_text().replace("~/.kube/config", str(tmp_path / "config"))
        (tmp_path / "Pulumi.onprem.yaml").write_text(text)
        command = (sys.executable, "-m", "infra.cli", "doctor", "-s", "onprem", "--config-file")
        # what is asked of registries stays on this machine too
        environ = {**os.environ, "HTTPS_PROXY": server["server"], "https_proxy": server["server"]}
        process = subprocess.Popen(
            (*command, str(tmp_path / "Pulumi.onprem.yaml")),
            cwd=PROJECT,
            env=environ,
            stdout=subprocess.PIPE,
            # also where the tests were started with SIGINT ignored, as a shell's `&` does
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        connection, _ = silent.accept()  # it asks, and is never answered
        process.send_signal(signal.SIGINT)
        begun = time.monotonic()
        out, _ = process.communicate(timeout=20)
        connection.close()
    assert process.returncode == 130
    assert time.monotonic() - begun < 5
    assert b"interrupted" in out
    assert b"Traceback" not in out
