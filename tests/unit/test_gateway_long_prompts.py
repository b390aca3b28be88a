"""One name and two models: each request goes to the first whose context it is certain to fit, and wakes only that."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.unit import gateway_kit as kit

from ebbtide_gateway.prompt_length import most_tokens, shortest  # isort: skip
from ebbtide_gateway.settings import Model  # isort: skip

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
SHORT, LONG = "chat.ebbtide-models", "chat-long.ebbtide-models"
CONTEXT = 4096
KEYS = {"demo": ("sk-demo", "everyone"), "guest": ("sk-guest", "guests"), "other": ("sk-other", "others")}


def chat_of(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


def least(path: str, body: dict[str, Any]) -> float:
    tokens = most_tokens(path, body)
    assert tokens is not None
    return tokens


# How much is counted.


@pytest.mark.parametrize("text", ["a" * 500, "Zürich " * 50, "漢字" * 100, "\U0001f41f" * 40, '"\\\n' * 100, "\ud83d"])
def test_no_text_has_more_tokens_than_are_counted_for_it(text: str) -> None:
    # where every byte is a token of its own, which is the most that a tokenizer with a fallback to bytes makes of it
    assert least(TEXT, {"prompt": text}) >= len(text.encode(errors="surrogatepass"))


@pytest.mark.parametrize("limit", ["max_tokens", "max_completion_tokens", "max_output_tokens"])
def test_the_answer_counts_by_the_limit_that_it_is_given(limit: str) -> None:
    without, limited = least(TEXT, {"prompt": "a"}), least(TEXT, {"prompt": "a", limit: 900})
    assert 900 <= limited - without <= 900 + len(f'"{limit}":900,')


def test_a_chat_leaves_room_for_what_its_template_adds_and_a_raw_prompt_does_not() -> None:
    assert least(CHAT, chat_of("a")) - least(TEXT, {"prompt": "a"}) >= 1024
    assert least("/v1/responses", {"input": "a"}) - least("/v1/embeddings", {"input": "a"}) == 1024


def test_ids_of_tokens_and_all_of_several_prompts_count() -> None:
    assert least(TEXT, {"prompt": list(range(500))}) >= 500
    assert least(TEXT, {"prompt": ["a" * 300, "b" * 300]}) >= 600


def test_instructions_tools_and_earlier_turns_count() -> None:
    plain = least(CHAT, chat_of("a"))
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "file_path": "x" * 400}}}
    assert least(CHAT, chat_of("a") | {"tools": [tool]}) > plain + 400
    assert least("/v1/messages", chat_of("a") | {"system": "b" * 400}) > plain + 400


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}},
        {"image_url": "https://example.com/a.png"},
        {"type": "input_audio", "input_audio": {"data": "aa", "format": "wav"}},
        {"type": "tool_result", "content": [{"type": "image", "source": {}}]},
        {"type": "of the future"},
    ],
)
def test_what_is_not_text_tells_no_length(part: dict[str, Any]) -> None:
    assert most_tokens(CHAT, {"messages": [{"role": "user", "content": [part]}]}) is None
    assert most_tokens("/v1/responses", {"input": [{"role": "user", "content": [part]}]}) is None


@pytest.mark.parametrize(
    "content",
    [
        [{"type": "text", "text": "an image_url"}, {"text": "bare"}],
        [{"type": "tool_use", "name": "look", "input": {"type": "image", "file": "a"}}],
        [{"type": "tool_result", "content": [{"type": "text", "text": "b"}]}],
        None,
    ],
)
def test_parts_that_are_text_are_counted(content: Any) -> None:
    assert most_tokens(CHAT, {"messages": [{"role": "assistant", "content": content, "tool_calls": []}]}) is not None


def test_the_first_that_it_fits_takes_it_and_the_last_what_is_left() -> None:
    models = {
        name: Model(name=name, host=name, gpus=1, hold_seconds=1, context_tokens=context, longer=longer)
        for name, context, longer in (("s", 2000, "m"), ("m", 4000, "l"), ("l", None, None))
    }

    def taken(length: int) -> str:
        return shortest(TEXT, {"prompt": "a" * length}, models["s"], models).name

    room = 2000 - int(least(TEXT, {"prompt": ""}))
    assert [taken(room), taken(room + 1), taken(room + 2000), taken(room + 2001)] == ["s", "m", "m", "l"]
    assert shortest(TEXT, {"prompt": "a" * 9000}, models["m"], models).name == "l"


# The gateway's own process, before a stand-in for the engines.


COMMON = {"gpus": 1, "holdSeconds": 3}
upstream, kube, gateway = kit.fixtures(
    [
        {**COMMON, "name": "chat", "host": SHORT, "aliases": ["talk"], "contextTokens": CONTEXT, "longer": "chat-long"},
        {**COMMON, "name": "chat-long", "host": LONG, "askedAs": "chat"},
    ],
    kit.key_file(KEYS, {"everyone": ["chat"], "guests": ["chat"], "others": ["chat-long"]}, {"guests": {"wake": []}}),
    replicas={"chat": 0, "chat-long": 0},
    limits={"maxBodyBytes": 100_000},
)


@pytest.fixture(autouse=True)
def clean(request: pytest.FixtureRequest) -> None:
    if "gateway" in request.fixturenames:
        request.getfixturevalue("upstream").reset()


def ask(gateway: kit.Gateway, length: int, key: str = "sk-demo", **more: Any) -> httpx.Response:
    body = {"model": "chat", **chat_of("a" * length), **more}
    headers = {"authorization": f"Bearer {key}"}
    return httpx.post(gateway.url + CHAT, json=body, headers=headers, timeout=20)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("length", "more", "host"),
    [
        (100, {}, SHORT),
        (100, {"model": "talk"}, SHORT),
        (CONTEXT, {}, LONG),
        (CONTEXT, {"model": "talk", "stream": True}, LONG),
        (100, {"max_tokens": CONTEXT}, LONG),
        (2000, {"max_tokens": 500}, SHORT),
    ],
)
def test_a_request_wakes_and_reaches_only_the_one_that_it_goes_to(
    gateway: kit.Gateway, upstream: kit.Upstream, length: int, more: dict[str, Any], host: str
) -> None:
    answer = ask(gateway, length, **more)
    assert answer.status_code == 200
    assert {knock.host for knock in upstream.knocks} == {each.host for each in upstream.received} == {host}
    name = host.partition(".")[0]
    assert upstream.received[0].body["model"] == answer.headers["x-ebbtide-model"] == name


@pytest.mark.slow
def test_clients_see_one_name(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    headers = {"authorization": "Bearer sk-demo"}
    listed = httpx.get(gateway.url + "/v1/models", headers=headers).json()["data"]
    assert [(each["id"], each["aliases"]) for each in listed] == [("chat", ["talk"])]
    assert httpx.get(gateway.url + "/v1/models/chat-long", headers=headers).status_code == 404
    for key, status in (("sk-demo", 404), ("sk-other", 404)):
        answer = ask(gateway, 10, key=key, model="chat-long")
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, "model_not_found")
        assert "chat-long" not in answer.json()["error"]["message"].partition("models you may use")[2]
    assert upstream.untouched


@pytest.mark.slow
@pytest.mark.parametrize("length", [10, CONTEXT])
def test_rights_are_of_the_name_whichever_model_it_goes_to(
    gateway: kit.Gateway, upstream: kit.Upstream, length: int
) -> None:
    denied = ask(gateway, length, key="sk-other")
    assert (denied.status_code, denied.json()["error"]["code"]) == (403, "model_not_allowed")
    asleep = ask(gateway, length, key="sk-guest")
    assert (asleep.status_code, asleep.json()["error"]["code"]) == (403, "wake_not_allowed")
    assert "everyone" in asleep.json()["error"]["message"]
    assert upstream.untouched


@pytest.mark.slow
def test_metrics_and_log_tell_which_of_them_served(gateway: kit.Gateway) -> None:
    for length in (10, CONTEXT):
        assert ask(gateway, length).status_code == 200
    counted = [
        f'ebbtide_gateway_requests_total{{group="everyone",model="{name}",status="200"}}'
        for name in ("chat", "chat-long")
    ]
    kit.until(lambda: all(each in httpx.get(gateway.metrics_url).text for each in counted), "both are counted")
    assert {"chat", "chat-long"} <= {record["model"] for record in gateway.records()}
