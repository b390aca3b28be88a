"""LlamaIndex, by its packages for servers of OpenAI's API."""

from __future__ import annotations

from typing import Any

from features import CHAT, EMBED, ENOUGH, FEW, HELD_SECONDS, KEY, PROMPT, URL, Weather, feature, main
from llama_index.core.llms import ChatMessage
from llama_index.core.program.function_program import get_function_tool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.openai import OpenAIResponses
from llama_index.llms.openai_like import OpenAILike

SERVER = {"api_base": f"{URL}/v1", "api_key": KEY, "timeout": HELD_SECONDS}
ASKED = [ChatMessage(role="user", content=PROMPT)]


def model(max_tokens: int = FEW, **more: Any) -> OpenAILike:
    kind = {"is_chat_model": True, "is_function_calling_model": True, "should_use_structured_outputs": True}
    return OpenAILike(model=CHAT, max_tokens=max_tokens, context_window=2048, **kind, **SERVER, **more)


@feature
def chat() -> None:
    assert model().chat(ASKED).message.content


@feature
def stream() -> None:
    assert sum(bool(piece.delta) for piece in model().stream_chat(ASKED)) > 1


@feature
def tools() -> None:
    asked = model(ENOUGH)
    answer = asked.chat_with_tools([get_function_tool(Weather)], user_msg=PROMPT, tool_required=True)
    assert [Weather(**call.tool_kwargs) for call in asked.get_tool_calls_from_response(answer)]


@feature
def json_schema() -> None:
    assert isinstance(model(ENOUGH).as_structured_llm(Weather).chat(ASKED).raw, Weather)


@feature
def logprobs() -> None:
    assert model(logprobs=True, top_logprobs=2).chat(ASKED).logprobs


@feature
def responses() -> None:
    assert OpenAIResponses(model=CHAT, max_output_tokens=FEW, context_window=2048, **SERVER).chat(ASKED).message.content


@feature
def embeddings() -> None:
    vectors = OpenAILikeEmbedding(model_name=EMBED, **SERVER).get_text_embedding_batch(["sun", "rain"])
    assert [type(vector[0]) for vector in vectors] == [float, float]


main()
