"""Instructor, around the openai library."""

from __future__ import annotations

import instructor
import openai
from features import CHAT, ENOUGH, HELD_SECONDS, KEY, PROMPT, URL, Weather, feature, main

ASKED = {"model": CHAT, "messages": [{"role": "user", "content": PROMPT}], "max_tokens": ENOUGH, "max_retries": 0}


def client(mode: instructor.Mode) -> instructor.Instructor:
    return instructor.from_openai(openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, timeout=HELD_SECONDS), mode=mode)


@feature
def tools() -> None:
    assert isinstance(client(instructor.Mode.TOOLS).create(response_model=Weather, **ASKED), Weather)


@feature
def json_schema() -> None:
    assert isinstance(client(instructor.Mode.JSON_SCHEMA).create(response_model=Weather, **ASKED), Weather)


@feature
def stream() -> None:
    *_, last = client(instructor.Mode.JSON_SCHEMA).create_partial(response_model=Weather, **ASKED)
    assert Weather.model_validate(last.model_dump())


main()
