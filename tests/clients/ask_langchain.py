"""LangChain, by its package for OpenAI's API."""

from __future__ import annotations

from typing import Any

from features import CHAT, EMBED, ENOUGH, FEW, HELD_SECONDS, KEY, PROMPT, URL, Weather, feature, main
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

SERVER = {"base_url": f"{URL}/v1", "api_key": KEY, "timeout": HELD_SECONDS}


def model(max_tokens: int = FEW, **more: Any) -> ChatOpenAI:
    return ChatOpenAI(model=CHAT, max_tokens=max_tokens, **SERVER, **more)


@feature
def chat() -> None:
    answer = model().invoke(PROMPT)
    assert answer.content
    assert answer.usage_metadata["output_tokens"]


@feature
def stream() -> None:
    pieces = [piece for piece in model().stream(PROMPT) if piece.content]
    assert len(pieces) > 1


@feature
def tools() -> None:
    bound = model(ENOUGH).bind_tools([Weather], tool_choice="any", parallel_tool_calls=False)
    whole, *pieces = bound.stream(PROMPT)
    for piece in pieces:
        whole += piece
    for answer in (bound.invoke(PROMPT), whole):
        assert [Weather(**call["args"]) for call in answer.tool_calls]


@feature
def json_schema() -> None:
    assert isinstance(model(ENOUGH).with_structured_output(Weather, method="json_schema").invoke(PROMPT), Weather)


@feature
def logprobs() -> None:
    assert model(logprobs=True).invoke(PROMPT).response_metadata["logprobs"]["content"]


@feature
def responses() -> None:
    asked = model(use_responses_api=True)
    assert asked.invoke(PROMPT).text
    assert sum(bool(piece.text) for piece in asked.stream(PROMPT)) > 1


@feature
def embeddings() -> None:
    # else it cuts texts into the tokens of OpenAI's own models, which it fetches from the internet, and sends these
    vectors = OpenAIEmbeddings(model=EMBED, check_embedding_ctx_length=False, **SERVER).embed_documents(["sun", "rain"])
    assert [type(vector[0]) for vector in vectors] == [float, float]


main()
