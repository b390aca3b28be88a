"""Pydantic AI, by its models for OpenAI's API."""

from __future__ import annotations

import asyncio
from typing import Any

from features import CHAT, EMBED, ENOUGH, FEW, HELD_SECONDS, KEY, PROMPT, URL, Weather, feature, main
from pydantic_ai import Agent, Embedder, NativeOutput, ToolOutput
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

SERVER = OpenAIProvider(base_url=f"{URL}/v1", api_key=KEY)
MODEL = OpenAIChatModel(CHAT, provider=SERVER)


def settings(max_tokens: int = FEW, **more: Any) -> dict[str, Any]:
    return {"max_tokens": max_tokens, "timeout": HELD_SECONDS, **more}


@feature
def chat() -> None:
    answer = Agent(MODEL).run_sync(PROMPT, model_settings=settings())
    assert answer.output
    assert answer.usage.output_tokens


@feature
def stream() -> None:
    async def pieces() -> list[str]:
        async with Agent(MODEL).run_stream(PROMPT, model_settings=settings()) as answer:
            return [piece async for piece in answer.stream_text(delta=True, debounce_by=None)]

    assert len(asyncio.run(pieces())) > 1


@feature
def tools() -> None:
    agent = Agent(MODEL, output_type=ToolOutput(Weather))
    assert isinstance(agent.run_sync(PROMPT, model_settings=settings(ENOUGH)).output, Weather)


@feature
def json_schema() -> None:
    agent = Agent(MODEL, output_type=NativeOutput(Weather))
    assert isinstance(agent.run_sync(PROMPT, model_settings=settings(ENOUGH)).output, Weather)


@feature
def logprobs() -> None:
    answer = Agent(MODEL).run_sync(PROMPT, model_settings=settings(openai_logprobs=True, openai_top_logprobs=2))
    assert answer.response.provider_details["logprobs"]


@feature
def responses() -> None:
    agent = Agent(OpenAIResponsesModel(CHAT, provider=SERVER))
    assert agent.run_sync(PROMPT, model_settings=settings(16)).output


@feature
def embeddings() -> None:
    vectors = Embedder(OpenAIEmbeddingModel(EMBED, provider=SERVER)).embed_documents_sync(["sun", "rain"]).embeddings
    assert [type(vector[0]) for vector in vectors] == [float, float]


main()
