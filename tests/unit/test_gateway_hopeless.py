"""Requests that no engine could answer are told so before a model is woken; a full queue is told when to come back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.unit import gateway_kit as kit

from ebbtide_gateway import guard, parameters, settings  # isort: skip
from ebbtide_gateway.errors import ApiError  # isort: skip

CHAT, COMPLETIONS, EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
PATHS = {"messages": CHAT, "prompt": COMPLETIONS, "input": EMBEDDINGS}


def model(**more: Any) -> settings.Model:
    return settings.Model(name="m", host="m", gpus=1, hold_seconds=900, **more)


def refusal(path: str, body: dict[str, Any], **more: Any) -> tuple[int, str, str | None] | None:
    task = "embed" if path == EMBEDDINGS else "chat"
    try:
        parameters.check(path, body, model(**({"task": task} | more)))
    except ApiError as error:
        return error.status, error.code, error.param
    return None


@pytest.mark.parametrize(
    "body",
    [
        {"messages": kit.HI},
        {"messages": [{"role": "assistant", "tool_calls": []}]},
        *({"prompt": good} for good in ("a", ["a", "b"], [1, 2], [[1], [2, 3]])),
        *({"input": good} for good in ("a", "", ["a", ""], [1, 2], [[1], [2, 3]])),
        {"messages": kit.HI, "n": 3, "temperature": 0, "top_p": 1, "top_k": -1, "min_p": 0.0, "max_tokens": 1},
        {"messages": kit.HI, "temperature": None, "n": None, "max_tokens": None, "presence_penalty": -2},
        {"prompt": "a", "echo": True, "max_tokens": 0},
    ],
)
def test_what_an_engine_may_answer_goes_up(body: dict[str, Any]) -> None:
    assert refusal(PATHS[next(iter(body))], body) is None


@pytest.mark.parametrize(
    "body",
    [
        *({"messages": bad} for bad in ([], {}, "hi", 3, True, ["hi"], [{}], [{"role": 3}], [*kit.HI, None])),
        *({"prompt": bad} for bad in ("", [], {}, 3, True, [None], [True], [1, "a"], [[]], [[1], []], [1.5])),
        *({"input": bad} for bad in ([], {}, 3, False, [None], [[]], ["a", 1])),
    ],
)
def test_a_prompt_that_is_none_wakes_nothing(body: dict[str, Any]) -> None:
    ((name, _),) = body.items()
    answer = refusal(PATHS[name], body)
    assert answer is not None
    assert answer[:2] == (400, "invalid_parameter")
    assert (answer[2] or "").startswith(name)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("n", bad) for bad in (0, -1, 1.5, "2", True, [])),
        *(("temperature", bad) for bad in (-0.1, 2.1, float("nan"), float("inf"), "hot", {})),
        *(("top_p", bad) for bad in (0, -1, 1.01)),
        *(("top_k", bad) for bad in (-2, 0.5)),
        *(("min_p", bad) for bad in (-0.1, 1.1)),
        *(("max_tokens", bad) for bad in (-1, 1.5, "many", float("inf"), float("nan"))),
        ("max_completion_tokens", -1),
        ("min_tokens", -1),
        *(("presence_penalty", bad) for bad in (-2.1, 2.1)),
        *(("frequency_penalty", bad) for bad in (-2.1, 2.1)),
        *(("repetition_penalty", bad) for bad in (0, -1)),
    ],
)
def test_a_number_that_every_engine_refuses_wakes_nothing(name: str, value: object) -> None:
    assert refusal(CHAT, {"messages": kit.HI, name: value}) == (400, "invalid_parameter", name)
    assert refusal(COMPLETIONS, {"prompt": "a", name: value}) == (400, "invalid_parameter", name)


@pytest.mark.parametrize(
    ("task", "path", "served"),
    [
        ("chat", CHAT, True),
        ("chat", COMPLETIONS, True),
        ("chat", EMBEDDINGS, False),
        ("embed", EMBEDDINGS, True),
        ("embed", CHAT, False),
        ("embed", COMPLETIONS, False),
    ],
)
def test_a_model_is_asked_only_for_what_its_engine_was_started_for(task: str, path: str, served: bool) -> None:
    body = {"messages": kit.HI, "prompt": "a", "input": "a"}
    assert refusal(path, body, task=task) == (None if served else (400, "wrong_task", "model"))


@pytest.mark.parametrize(
    ("path", "body", "fits"),
    [
        (CHAT, {"messages": kit.HI, "n": 48}, True),
        (CHAT, {"messages": kit.HI, "n": 49}, False),
        (COMPLETIONS, {"prompt": ["a"] * 24, "n": 2}, True),
        (COMPLETIONS, {"prompt": ["a"] * 25, "n": 2}, False),
        (COMPLETIONS, {"prompt": [1] * 100}, True),
        (COMPLETIONS, {"prompt": [[1]] * 49}, False),
        (CHAT, {"messages": kit.HI, "n": 128}, False),
    ],
)
def test_more_sequences_than_an_engine_ever_takes_is_no_busy_engine(
    path: str, body: dict[str, Any], fits: bool
) -> None:
    assert refusal(path, body, most_sequences=48) == (None if fits else (400, "too_many_sequences", "n"))
    assert refusal(path, body, task="chat") is None, "no limit is known"


def queue(clock: list[float], **more: Any) -> tuple[guard.Places, settings.Model]:
    return guard.Places(lambda: clock[0]), model(most_waiting=1, **more)


def refused_after(waiting: guard.Places, asked: settings.Model) -> float:
    with pytest.raises(ApiError) as error, waiting.hold(asked):
        pass
    assert (error.value.status, error.value.code) == (503, "queue_full")
    assert error.value.retry_after is not None
    return error.value.retry_after


@pytest.mark.parametrize(
    ("last_wake", "elapsed", "wait"),
    [
        (None, 0, 120),  # the longest that client libraries wait
        (None, 500, 100),  # what is left of the longest start
        (None, 598, 5),
        (None, 650, 120),  # it should have been over: as long as anybody waits for it
        (None, 895, 5),
        (40, 10, 30),  # as long as the last wake took
        (40, 45, 120),  # longer than that one: the longest start again
    ],
)
def test_a_full_queue_tells_when_the_wake_should_be_over(last_wake: float | None, elapsed: float, wait: float) -> None:
    clock = [1000.0]
    waiting, asked = queue(clock, cold_start_seconds=600)
    if last_wake is not None:
        waiting.woke(asked, last_wake)
    with waiting.hold(asked):
        clock[0] += elapsed
        assert refused_after(waiting, asked) == wait


@pytest.mark.parametrize("cold_start", [30, 120, 600, 1200])
@pytest.mark.parametrize("last_wake", [None, 60])
def test_the_retries_that_the_documentation_advises_outlast_a_cold_start(
    cold_start: float, last_wake: float | None
) -> None:
    clock = [0.0]
    example = (Path(__file__).parents[2] / "docs/examples/ask.py").read_text()
    advised = re.search(r"max_retries=(\d+)", example)
    assert advised is not None
    waiting, asked = queue(clock, cold_start_seconds=cold_start)
    if last_wake is not None:
        waiting.woke(asked, last_wake)
    with waiting.hold(asked):
        for _ in range(int(advised[1])):
            clock[0] += refused_after(waiting, asked)
    assert clock[0] >= cold_start
