"""Choice among models of one name by the length of a request: the first whose context it is certain to fit.

No tokenizer is at hand here, so what counts is a bound: a token of text stands for a byte at least, and everything in
the body may become part of the prompt. What the bound sends to a longer model although a shorter one would have had
room costs more; the other way round would be refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .routes import ROUTES
from .settings import Model

_TEMPLATE_TOKENS = 1024
"""What a chat template may add of its own: a default system prompt, instructions for tools. What it adds to a message
is less than the signs of that message in JSON."""
_ANSWER = ("max_tokens", "max_completion_tokens", "max_output_tokens")
_TEXT = frozenset(
    (
        *("message", "text", "input_text", "output_text", "refusal", "thinking", "redacted_thinking"),
        *("reasoning", "summary_text", "reasoning_text"),
        *("tool_use", "tool_result", "function_call", "function_call_output"),
    )
)


def shortest(path: str, document: Mapping[str, Any], model: Model, models: Mapping[str, Model]) -> Model:
    """Return the first of ``model`` and the longer ones behind it that the request fits; the last takes what is left.
    Raises ``RecursionError`` for a document that is nested too deeply.
    """
    if model.longer is None:
        return model
    most = most_tokens(path, document)
    while model.longer is not None and (most is None or most > (model.context_tokens or 0)):
        model = models[model.longer]
    return model


def most_tokens(path: str, document: Mapping[str, Any]) -> float | None:
    """Return how many tokens prompt and answer have at most; None where the bytes do not tell, as for an image. Without
    a limit on the answer only its first token counts: it may take what is left.
    """
    if not (_is_text(document.get("messages")) and _is_text(document.get("input"))):
        return None
    limits = [document.get(name) for name in _ANSWER]
    answer = max((limit for limit in limits if isinstance(limit, int | float)), default=1)
    templated = "messages" in document or ROUTES[path].check == "responses"
    text = json.dumps(document, ensure_ascii=False, separators=(",", ":"))
    return len(text.encode(errors="surrogatepass")) + answer + (_TEMPLATE_TOKENS if templated else 0)


def _is_text(value: Any) -> bool:
    """Return True if messages, or parts of them, are nothing but text."""
    if isinstance(value, list):
        return all(map(_is_text, value))
    if not isinstance(value, dict):
        return True
    known = value.get("type") in _TEXT if "type" in value else "role" in value or value.keys() == {"text"}
    return known and all(_is_text(value.get(name)) for name in ("content", "output"))
