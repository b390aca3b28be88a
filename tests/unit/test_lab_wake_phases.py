"""A wake as it is read off pods and logs, and what the person who asked is shown at the end."""

from __future__ import annotations

import ast
import json
import shlex
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import yaml

from infra.errors import LocalProblem
from infra.workspace import Paths
from lab import ask, wake_phases
from lab.ask import Access

if TYPE_CHECKING:
    import openai

KEY = "sk-very-secret"
ACCESS = Access("http://127.0.0.1:4000", KEY, ("small", "big"))


def pod(*, scheduled: bool = True, state: dict[str, Any] | None = None, ready: bool = False) -> dict[str, Any]:
    conditions = [{"type": "PodScheduled", "status": "True" if scheduled else "False"}]
    conditions.append({"type": "Ready", "status": "True" if ready else "False"})
    statuses = [{"state": state}] if state is not None else []
    return {"status": {"conditions": conditions, "containerStatuses": statuses}}


RUNNING = {"running": {"startedAt": "now"}}
PULLING = {"waiting": {"reason": "ContainerCreating"}}


@pytest.mark.parametrize(
    ("replicas", "pod", "log", "last"),
    [
        (0, None, "", None),
        (1, None, "", "woken"),
        (0, pod(scheduled=False), "", "woken"),
        (1, pod(), "", "scheduled"),
        (1, pod(state=PULLING), "", "scheduled"),
        (1, pod(state=RUNNING), "", "image"),
        (1, pod(state=RUNNING), "INFO vLLM API server version 0.32.0", "engine started"),
        (1, pod(state=RUNNING), "Loading weights took 3.21 seconds", "weights"),
        (1, pod(state=RUNNING, ready=True), "", "engine ready"),
    ],
)
def test_phases_pass_in_order_and_a_later_one_implies_the_earlier(
    replicas: int, pod: dict[str, Any] | None, log: str, last: str | None
) -> None:
    passed = wake_phases.passed(replicas, pod, log)
    assert (passed[-1] if passed else None) == last
    assert passed == list(wake_phases.PHASES[: len(passed)])


def test_the_first_token_is_no_phase_that_kubernetes_could_tell() -> None:
    assert "first token" not in wake_phases.passed(1, pod(state=RUNNING, ready=True), "Model loading took 1 s")
    assert wake_phases.PHASES[-1] == "first token"


def test_a_pod_without_a_status_yet_is_no_error() -> None:
    assert wake_phases.passed(1, {}, "") == ["woken"]
    assert wake_phases.trouble({}) is None
    assert wake_phases.trouble(None) is None


def test_trouble_is_told_in_kubernetes_own_words() -> None:
    unfit = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/2 nodes: no gpu"}
    assert wake_phases.trouble({"status": {"conditions": [unfit]}}) == "0/2 nodes: no gpu"
    assert wake_phases.trouble({"status": {"conditions": [{**unfit, "message": None}]}}) == "Unschedulable"
    pull = {"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}
    assert wake_phases.trouble(pod(state=pull)) == "ImagePullBackOff: not found"
    assert wake_phases.trouble(pod(state={"waiting": {"reason": "CrashLoopBackOff"}})) == "CrashLoopBackOff"


@pytest.mark.parametrize("state", [PULLING, RUNNING, {"waiting": {"reason": "PodInitializing"}}, {"waiting": {}}])
def test_a_pod_that_gets_on_is_no_trouble(state: dict[str, Any]) -> None:
    assert wake_phases.trouble(pod(state=state)) is None


def test_the_next_lines_run_as_they_are_and_hold_no_key() -> None:
    shown = ask.next_lines(ACCESS)
    assert KEY not in shown
    curl, python = shown.splitlines()
    words = shlex.split(curl)
    assert words[:3] == ["curl", "-sS", "http://127.0.0.1:4000/v1/chat/completions"]
    assert "Authorization: Bearer $(.venv/bin/ebbtide local key)" in words
    assert json.loads(words[-1])["model"] == "small"
    assert shlex.split(python)[0] == ".venv/bin/python"
    program = shlex.split(python)[-1]
    ast.parse(program)
    assert "ebbtide local key" in program
    # the shell must not touch what stands between the double quotes
    assert not set(program) & set('$`"\\!')


def test_who_may_ask_is_kept_for_its_owner_alone(tmp_path: Path) -> None:
    at = Paths(tmp_path, tmp_path)
    ACCESS.save(at)
    assert Access.load(at) == ACCESS
    assert (tmp_path / "access.json").stat().st_mode & 0o077 == 0


def test_without_a_stack_there_is_nobody_to_ask(tmp_path: Path) -> None:
    with pytest.raises(LocalProblem, match="the local stack is not up\n  fix: run `make local`"):
        Access.load(Paths(tmp_path, tmp_path))


def refused(status: int, body: Any, **headers: str) -> openai.APIStatusError:
    import openai

    answer = httpx.Response(status, headers=headers, request=httpx.Request("POST", "http://x"))
    return openai.APIStatusError("no", response=answer, body=body)


def test_a_refusal_is_shown_in_the_gateways_words_with_what_to_do() -> None:
    assert ask._message(refused(404, {"error": {"message": "no such model"}})) == "no such model"
    assert ask._message(refused(404, {"message": "no such model"})) == "no such model"
    assert ask._message(refused(500, "plain")) == "plain"
    assert ask._message(refused(500, None)) == "no"
    assert "--model" in ask._advice(refused(404, None))
    assert ask._advice(refused(503, None, **{"retry-after": "30"})) == "ask again in 30 seconds"
    assert "local up" in ask._advice(refused(401, None))
    assert "local logs" in ask._advice(refused(418, None))


@pytest.mark.parametrize("kubeconfig", [False, True])
def test_a_cluster_that_cannot_be_looked_at_is_no_reason_to_fail(tmp_path: Path, kubeconfig: bool) -> None:
    at = Paths(tmp_path, tmp_path)
    if kubeconfig:  # of a server that does not answer
        config = {
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:9"}}],
            "users": [{"name": "c", "user": {"token": "x"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "c"}}],
        }
        at.kubeconfig.write_text(yaml.safe_dump(config))
    finished, answer, phases = threading.Event(), ask.Answer(), []
    finished.set()
    ask._watch(at, "small", 0.0, finished, answer, lambda phase, seconds: phases.append(phase))
    assert phases == []
