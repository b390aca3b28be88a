"""What a person sees: progress, problems, states and logs; plain text, no markup, no traceback."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from infra.console import Step, say, step
from infra.errors import LocalProblem
from infra.workspace import PROJECT, Paths
from lab import status
from lab.machine import namespaces
from lab.machine.namespaces import ProcessId
from lab.processes import run_logged

TELL = "from infra.console import say; say('[red]x[/red] [link=y]z[/link] ' + 'long ' * 60)"


@pytest.fixture
def at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    """A machine on which nothing runs."""
    monkeypatch.setenv("EBBTIDE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("EBBTIDE_CACHE", str(tmp_path / "cache"))
    places = Paths(tmp_path / "cache", tmp_path / "state")
    places.logs.mkdir(parents=True)
    return places


def test_a_line_is_printed_as_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    line = "[bold]no markup[/bold] [/] " + "long " * 60
    say(line)
    assert capsys.readouterr().out == line + "\n"


def in_a_terminal(program: str = TELL, status: int = 0, **env: str) -> str:
    """What a terminal would get."""
    master, slave = os.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=slave,
        stdin=slave,
        cwd=PROJECT,
        env={**os.environ, "TERM": "xterm", **env},
    )
    os.close(slave)
    parts = []
    while True:
        try:
            part = os.read(master, 4096)
        except OSError:
            break
        if not part:
            break
        parts.append(part)
    os.close(master)
    assert process.wait(20) == status
    return b"".join(parts).decode()


def test_into_a_file_and_without_colour_no_escape_is_written() -> None:
    env = {**os.environ, "FORCE_COLOR": ""}
    piped = subprocess.run(
        [sys.executable, "-c", TELL], capture_output=True, text=True, cwd=PROJECT, env=env, check=True
    )
    assert piped.stdout.count("\n") == 1
    for text in (piped.stdout, in_a_terminal(NO_COLOR="1")):
        assert "\x1b" not in text
        assert text.startswith("[red]x[/red] [link=y]z[/link] long")


def test_a_step_says_when_it_starts_and_when_it_is_done(capsys: pytest.CaptureFixture[str]) -> None:
    with step("weights") as running:
        running.note("10 %")
    assert re.fullmatch(r"  • weights\n  ✓ weights, \d+\.\d s\n", capsys.readouterr().out)


def test_a_step_that_fails_says_so_and_lets_the_reason_through(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt), step("weights"):
        raise KeyboardInterrupt
    out = capsys.readouterr().out
    assert "✗ weights" in out
    assert "✓" not in out


def test_a_step_that_found_its_result_says_nothing_of_time(capsys: pytest.CaptureFixture[str]) -> None:
    with step("weights") as running:
        running.already()
    assert capsys.readouterr().out == "  • weights\n"


def test_a_long_step_tells_that_it_is_alive_and_what_it_is_at(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("infra.console._PULSE_SECONDS", 0.02)
    output = ""
    with step("weights") as running:
        running.note("  model.safetensors [50%]\n")
        deadline = time.monotonic() + 10
        while "… weights, 0 s: model.safetensors [50%]" not in output and time.monotonic() < deadline:
            output += capsys.readouterr().out
    assert "… weights, 0 s: model.safetensors [50%]" in output


def test_a_problem_shows_the_end_of_its_log_and_the_fix(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {n} {'x' * 300}\n" for n in range(40)))
    shown = str(LocalProblem("it broke", "mend it", log)).splitlines()
    assert shown[0] == "it broke"
    assert shown[1] == f"  last lines of {log}:"
    assert [line[:11] for line in shown[2:-1]] == [f"  | line {n}" for n in range(28, 40)]
    assert max(map(len, shown[2:-1])) <= 204
    assert shown[-1] == "  fix: mend it"
    assert str(LocalProblem("it broke", "mend it", tmp_path / "absent")) == "it broke\n  fix: mend it"


def test_a_programs_lines_are_kept_and_told_and_its_failure_is_a_problem(tmp_path: Path) -> None:
    log, lines = tmp_path / "logs" / "log", []
    run_logged(["sh", "-c", "echo one; echo; echo two >&2"], log, fix="f", note=lines.append)
    assert [line.strip() for line in lines] == ["one", "two"]
    with pytest.raises(LocalProblem, match=r"sh ended with status 3\n.*\n(  \|.*\n)*  \| oh no\n  fix: mend it"):
        run_logged(["sh", "-c", "echo oh no; exit 3"], log, fix="mend it")
    assert "$ sh -c echo one" in log.read_text()


def test_an_interruption_ends_the_program_and_its_children(tmp_path: Path) -> None:
    children: list[ProcessId] = []

    def interrupted(line: str) -> None:
        process = ProcessId.of(int(line))
        assert process is not None
        children.append(process)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run_logged(["sh", "-c", "sleep 1000 & echo $!; wait"], tmp_path / "log", fix="f", note=interrupted)
    deadline = time.monotonic() + 10
    while children[0].alive() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not children[0].alive()


def pod(phase: str = "Running", ready: str = "True", **metadata: Any) -> dict[str, Any]:
    return {"metadata": metadata, "status": {"phase": phase, "conditions": [{"type": "Ready", "status": ready}]}}


MODEL = {"labels": {"ebbtide.dev/model": "small"}}


@pytest.mark.parametrize(
    ("pod", "well"),
    [
        (pod(), True),
        (pod(ready="False"), False),
        (pod(phase="Pending", ready="False"), False),
        (pod(phase="Succeeded", ready="False"), True),
        (pod(ready="False", deletionTimestamp="now"), True),
        (pod(phase="Pending", ready="False", **MODEL), True),  # a model that loads or waits for a GPU
        (pod(phase="Failed", ready="False", **MODEL), False),
        ({"metadata": {}, "status": {}}, False),
    ],
)
def test_which_pods_are_well(pod: dict[str, Any], well: bool) -> None:
    assert status._well(pod) == well


def test_the_state_of_nothing_is_one_line_and_not_zero(at: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    assert status.show() == 1
    assert capsys.readouterr().out == (
        "the local cluster is not running (`make local` or `ebbtide local up` starts it)\n"
    )


def test_the_end_of_a_parts_log_is_shown(at: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    (at.logs / "etcd.log").write_text("one\ntwo [red]\nthree\n")
    status.logs("etcd", 2)
    assert capsys.readouterr().out == "two [red]\nthree\n"


def test_without_a_part_the_parts_are_listed_and_a_wrong_one_lists_them_too(
    at: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    (at.logs / "etcd.log").touch()
    (at.logs / "kubelet.log").touch()
    status.logs(None, 10)
    assert capsys.readouterr().out == "parts: etcd, kubelet\npods:  \n"
    with pytest.raises(LocalProblem, match="no part, pod or model called kublet\n  fix: name one of: etcd, kubelet"):
        status.logs("kublet", 10)


def test_nothing_here_took_the_running_cluster_for_its_own(at: Paths) -> None:
    assert namespaces.running(at) is None


def event(reason: str, name: str, when: str) -> dict[str, Any]:
    message, thing = f"{reason}\nof {name}", {"kind": "ScaledObject", "name": name}
    return {"involvedObject": thing, "metadata": {}, "reason": reason, "lastTimestamp": when, "message": message}


def test_a_sleeping_model_is_told_with_since_when_what_happened_and_how_to_wake_it() -> None:
    events = [
        event("KEDAScaleTargetDeactivated", "small", "2026-11-28T12:05:00Z"),
        event("KEDAScaleTargetActivated", "small", "2026-11-28T12:00:00Z"),
        event("Killing", "small-7d9f-abcde", "2026-11-28T12:05:01Z"),
        event("KEDAScaleTargetDeactivated", "smaller", "2026-11-28T13:00:00Z"),
    ]
    assert status.sleeping("small", {}, events, 2) == [
        "small is asleep: since 2026-11-28T12:05:00Z. It has no pod, and the last one's log went with it.",
        "last events:",
        "  2026-11-28T12:05:00Z  ScaledObject  KEDAScaleTargetDeactivated: KEDAScaleTargetDeactivated of small",
        "  2026-11-28T12:05:01Z  ScaledObject  Killing: Killing of small-7d9f-abcde",
        "to wake it: ebbtide local ask --model small 'Hello'",
    ]
    last = {"status": {"lastActiveTime": "2026-11-28T09:00:00Z"}}
    assert "nobody has needed it since 2026-11-28T09:00:00Z" in status.sleeping("small", last, [], 9)[0]
    assert "nobody has asked it yet" in status.sleeping("small", {}, [], 9)[0]


def test_the_log_of_a_sleeping_model_is_no_unknown_name(
    at: Paths, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    at.kubeconfig.touch()
    answers: dict[str, Any] = {"pods": [], "scaledobjects": [{"metadata": {"name": "small"}}], "events": []}
    monkeypatch.setattr("infra.kube_client.api_ready", lambda at: True)
    monkeypatch.setattr("lab.machine.kubernetes.kubectl", lambda at, *w, **_: json.dumps({"items": answers[w[1]]}))
    status.logs("small", 5)
    assert "small is asleep" in capsys.readouterr().out
    status.logs(None, 5)
    assert "asleep: small" in capsys.readouterr().out
    with pytest.raises(LocalProblem, match="name one of: small"):
        status.logs("smell", 5)


def test_a_pulse_names_the_part_and_its_time_and_no_line_that_is_long_past(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("infra.console.time.monotonic", lambda: now[0])
    running = Step("tool chain")
    running.part("building pulumi (1 of 17)")
    running.note("go: downloading golang.org/x/mod v0.1")
    now[0] += 5
    assert running.pulse() == "tool chain, 5 s: building pulumi (1 of 17), 5 s: go: downloading golang.org/x/mod v0.1"
    now[0] += 300
    assert running.pulse() == "tool chain, 305 s: building pulumi (1 of 17), 305 s"
    running.part("building kubelet (2 of 17)")
    now[0] += 2
    assert running.pulse() == "tool chain, 307 s: building kubelet (2 of 17), 2 s"


def test_on_a_terminal_a_step_is_one_live_line_which_an_interruption_takes_away() -> None:
    program = (
        "import time\nfrom infra.console import step\n"
        "with step('weights') as running:\n    running.part('part 1 of 2'); time.sleep(1.2); raise KeyboardInterrupt"
    )
    shown = in_a_terminal(program, status=-2)
    assert "part 1 of 2, 1 s" in shown
    assert "…" not in shown
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l"), "the cursor is given back"
    assert "✗ weights" in shown
