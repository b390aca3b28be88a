"""The openai library for Python."""

from __future__ import annotations

import openai
from features import (
    CHAT,
    EMBED,
    ENOUGH,
    FEW,
    HELD_SECONDS,
    KEY,
    PROMPT,
    TRANSCRIBE,
    URL,
    Weather,
    feature,
    main,
    raised,
    sound,
)  # fmt: skip

client = openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, timeout=HELD_SECONDS)
ASKED = {"model": CHAT, "messages": [{"role": "user", "content": PROMPT}]}
CALL_ONCE = {"tools": [openai.pydantic_function_tool(Weather)], "parallel_tool_calls": False, "max_tokens": ENOUGH}


@feature
def chat() -> None:
    answer = client.chat.completions.create(**ASKED, max_tokens=FEW)
    assert answer.choices[0].message.content
    assert answer.usage.completion_tokens


@feature
def stream() -> None:
    options = {"include_usage": True}
    *chunks, last = client.chat.completions.create(**ASKED, max_tokens=FEW, stream=True, stream_options=options)
    assert sum(bool(chunk.choices[0].delta.content) for chunk in chunks) > 1
    assert chunks[-1].choices[0].finish_reason
    assert last.usage.completion_tokens


@feature
def tools() -> None:
    answer = client.chat.completions.parse(**ASKED, **CALL_ONCE, tool_choice="required")
    assert isinstance(answer.choices[0].message.tool_calls[0].function.parsed_arguments, Weather)
    one = {"type": "function", "function": {"name": "Weather"}}
    with client.chat.completions.stream(**ASKED, **CALL_ONCE, tool_choice=one) as events:
        whole = events.get_final_completion()
    assert isinstance(whole.choices[0].message.tool_calls[0].function.parsed_arguments, Weather)


@feature
def json_schema() -> None:
    answer = client.chat.completions.parse(**ASKED, response_format=Weather, max_tokens=ENOUGH)
    assert isinstance(answer.choices[0].message.parsed, Weather)


@feature
def logprobs() -> None:
    answer = client.chat.completions.create(**ASKED, max_tokens=FEW, logprobs=True, top_logprobs=2)
    assert {len(token.top_logprobs) for token in answer.choices[0].logprobs.content} == {2}


@feature
def responses() -> None:
    assert client.responses.create(model=CHAT, input=PROMPT, max_output_tokens=FEW).output_text
    events = list(client.responses.create(model=CHAT, input=PROMPT, max_output_tokens=FEW, stream=True))
    assert sum(event.type == "response.output_text.delta" for event in events) > 1
    assert events[-1].type in ("response.completed", "response.incomplete")
    parsed = client.responses.parse(model=CHAT, input=PROMPT, text_format=Weather, max_output_tokens=ENOUGH)
    assert isinstance(parsed.output_parsed, Weather)


@feature
def embeddings() -> None:
    answer = client.embeddings.create(model=EMBED, input=["sun", "rain"])
    assert [type(each.embedding[0]) for each in answer.data] == [float, float]


@feature
def audio() -> None:
    assert client.audio.transcriptions.create(model=TRANSCRIBE, file=("silence.wav", sound())).text


@feature
def errors() -> None:
    assert {CHAT} <= {model.id for model in client.models.list()}
    unknown = raised(openai.NotFoundError, lambda: client.chat.completions.create(**ASKED | {"model": "none"}))
    assert unknown.code == "model_not_found"
    stranger = client.with_options(api_key="sk-none")
    assert raised(openai.AuthenticationError, stranger.models.list).code == "invalid_api_key"


main()
