"""The anthropic library for Python."""

from __future__ import annotations

import anthropic
from features import CHAT, ENOUGH, FEW, HELD_SECONDS, KEY, PROMPT, URL, Weather, feature, main, raised

client = anthropic.Anthropic(base_url=URL, api_key=KEY, timeout=HELD_SECONDS)
ASKED = {"model": CHAT, "messages": [{"role": "user", "content": PROMPT}]}
TOOLS = [{"name": "Weather", "description": Weather.__doc__, "input_schema": Weather.model_json_schema()}]


def called(answer: anthropic.types.Message) -> bool:
    """Whether it is one whole call of the tool."""
    (call,) = [block for block in answer.content if block.type == "tool_use"]
    return bool(Weather.model_validate(call.input)) and answer.stop_reason == "tool_use"


@feature
def chat() -> None:
    answer = client.messages.create(**ASKED, max_tokens=FEW)
    assert answer.content[0].text
    assert answer.usage.output_tokens
    assert client.messages.count_tokens(**ASKED).input_tokens == answer.usage.input_tokens


@feature
def stream() -> None:
    with client.messages.stream(**ASKED, max_tokens=FEW) as events:
        pieces = list(events.text_stream)
        answer = events.get_final_message()
    assert len(pieces) > 1
    assert answer.stop_reason in ("end_turn", "max_tokens")
    assert answer.content[0].text == "".join(pieces)


@feature
def tools() -> None:
    asked = ASKED | {
        "tools": TOOLS,
        "tool_choice": {"type": "any", "disable_parallel_tool_use": True},
        "max_tokens": ENOUGH,
    }
    assert called(client.messages.create(**asked))
    with client.messages.stream(**asked) as events:
        assert called(events.get_final_message())


@feature
def json_schema() -> None:
    answer = client.messages.parse(**ASKED, max_tokens=ENOUGH, output_format=Weather)
    assert isinstance(answer.parsed_output, Weather)


@feature
def errors() -> None:
    asked = ASKED | {"max_tokens": FEW}
    unknown = raised(anthropic.NotFoundError, lambda: client.messages.create(**asked | {"model": "none"}))
    assert unknown.body["error"]["type"] == "not_found_error"
    stranger = client.with_options(api_key="sk-none")
    refused = raised(anthropic.AuthenticationError, lambda: stranger.messages.create(**asked))
    assert refused.body["error"]["type"] == "authentication_error"


main()
