"""Parameters of a body: those that are refused, and what must be right before a model is woken for it.

No model is woken for what its engine must refuse: only what any engine refuses is checked, by the shape and the ranges
of OpenAI's API and vLLM 0.32. Everything else is left to the engine: it knows its own parameters, and refuses or
ignores those it does not know.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ApiError
from .routes import ROUTES, paths_of
from .settings import Model

# Parameters that proxies of this API obey. Nothing here would follow them; a refusal informs a client that relies on
# one.
_OF_PROXIES = frozenset(
    (
        *("headers", "extra_headers", "extra_query", "extra_body", "timeout", "stream_timeout", "request_timeout"),
        *("base_url", "api_base", "api_key", "api_version", "api_type", "organization", "custom_llm_provider"),
        *("user_config", "model_list", "model_info", "deployment_id", "specific_deployment", "litellm_params"),
        *(
            "fallbacks",
            "default_fallbacks",
            "context_window_fallbacks",
            "content_policy_fallbacks",
            "disable_fallbacks",
        ),
        *("num_retries", "max_retries", "retry_policy", "retry_strategy", "router_settings_override", "client"),
        *("callbacks", "success_callback", "failure_callback", "input_callback", "litellm_metadata", "guardrails"),
        *("mock_response", "mock_tool_calls", "mock_timeout", "mock_delay", "proxy_server_request"),
    )
)
# vLLM's own parameters that reach beyond the one request.
_OF_THE_ENGINE = frozenset(
    (
        # a program in the template language, run on the engine's only rendering thread without a time limit: one
        # request can end all others (GHSA-542m-9234-8gvf)
        "chat_template",
        # names another host and port for the engine to fetch its cache from
        *("kv_transfer_params", "ec_transfer_params"),
        # names Python objects for the engine to import
        "logits_processors",
        # serialized tensors for the engine to load
        "prompt_embeds",
    )
)
# Arguments of the rendering function: the template again, and a switch that makes it work for minutes beside every
# other request (GHSA-69j4-grxj-j64p).
_OF_THE_TEMPLATE = frozenset({"chat_template", "tokenize"})
_OF_THE_EXTENSIONS = frozenset({"kv_transfer_params", "ec_transfer_params"})
_INSIDE = {"chat_template_kwargs": _OF_THE_TEMPLATE, "vllm_xargs": _OF_THE_EXTENSIONS}

_CONSTRAINTS = ("response_format", "structured_outputs", "tools", "text", "output_config")
"""The engine makes a grammar from these, in its own process: every other request waits for it."""
_MOST_OF_A_CONSTRAINT = 65_536
_LONGEST_REPEAT = 10_000
_REPEAT = re.compile(r"\{(\d+)?,?(\d+)?\}")
_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})


@dataclass(frozen=True)
class _Range:
    """Range of a numeric parameter: from ``least`` (or above it, if ``open``) to ``most``."""

    least: float
    most: float = math.inf
    whole: bool = False
    open: bool = False

    def has(self, value: object) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        if isinstance(value, float) and not math.isfinite(value):  # JSON has none, but Python reads 1e999 and NaN
            return False
        if self.whole and value != math.floor(value):
            return False
        return self.least < value <= self.most or (value == self.least and not self.open)

    def __str__(self) -> str:
        kind = "a whole number" if self.whole else "a number"
        if self.most < math.inf:
            return f"{kind} {'above' if self.open else 'from'} {self.least:g} to {self.most:g}"
        return f"{kind} {'above' if self.open else 'not below'} {self.least:g}"


_RANGES = {
    # beyond these vLLM 0.32 fails by itself (500), or works for minutes beside all others; OpenAI gives up to 128
    # answers
    "n": _Range(1, 128, whole=True),
    "best_of": _Range(1, 128, whole=True),
    "length_penalty": _Range(-10, 10),
    "max_tokens": _Range(0, whole=True),
    "max_completion_tokens": _Range(0, whole=True),
    "max_output_tokens": _Range(0, whole=True),
    "min_tokens": _Range(0, whole=True),
    "temperature": _Range(0, 2),
    "top_p": _Range(0, 1, open=True),
    "top_k": _Range(-1, whole=True),
    "min_p": _Range(0, 1),
    "presence_penalty": _Range(-2, 2),
    "frequency_penalty": _Range(-2, 2),
    "repetition_penalty": _Range(0, open=True),
}


def refused(document: Mapping[str, Any]) -> list[str]:
    """Return the parameters that are not accepted, as a client wrote them, sorted."""
    rejected = [name for name in document if name in _OF_PROXIES or name in _OF_THE_ENGINE]
    for name, names in _INSIDE.items():
        inner = document.get(name)
        if isinstance(inner, dict):
            rejected += [f"{name}.{key}" for key in inner if key in names]
    return sorted(rejected)


def check(path: str, document: Mapping[str, Any], model: Model) -> None:
    """Raise ``ApiError`` 400 when the model's task does not have the path, and for what its engine must refuse."""
    route = ROUTES[path]
    if model.task not in route.tasks:
        raise wrong_task(path, model)
    sequences = _CHECKS[route.check](document)
    if not route.samples:
        return
    for name, allowed in _RANGES.items():
        value = document.get(name)
        if value is not None and not allowed.has(value):
            raise _wrong(name, f"must be {allowed}")
    check_constraints(document)
    _fits(sequences * int(document.get("n") or 1), model)


def wrong_task(path: str, model: Model) -> ApiError:
    """Return the 400 that says what a model is for, and which models the path is for."""
    has, needed = ", ".join(paths_of(model.task)), " or ".join(ROUTES[path].tasks)
    message = f"model {model.name!r} has task {model.task!r}, and so {has}; {path} is for models with task {needed}"
    return ApiError(400, "wrong_task", message, param="model")


def _fits(sequences: int, model: Model) -> None:
    """Raise ``ApiError`` 400 for more sequences than the model takes: vLLM counts each as a request of its own, and
    would answer "busy" forever.
    """
    most = model.most_sequences
    if most is not None and sequences > most:
        message = f"this asks for {sequences} sequences at once (n for each prompt); {model.name!r} takes {most}"
        raise ApiError(400, "too_many_sequences", message, param="n")


def _of_chat(document: Mapping[str, Any]) -> int:
    messages = _needed(document, "messages")
    if not isinstance(messages, list) or not messages:
        raise _wrong("messages", "must be a list of at least one message")
    for number, message in enumerate(messages):
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise _wrong(f"messages[{number}]", "must be an object with a 'role'")
    return 1


def _of_completion(document: Mapping[str, Any]) -> int:
    prompt = _needed(document, "prompt")
    if prompt == "":
        raise _wrong("prompt", "must not be empty")
    return _prompts("prompt", prompt)


def _of_embedding(document: Mapping[str, Any]) -> int:
    if document.get("input") is None and document.get("messages") is not None:
        return _of_chat(document)  # vLLM's own way to embed a conversation
    return _prompts("input", _needed(document, "input"))


def _of_messages(document: Mapping[str, Any]) -> int:
    """Check a request in Anthropic's API."""
    sequences = _of_chat(document)
    if not _Range(1, whole=True).has(_needed(document, "max_tokens")):
        raise _wrong("max_tokens", "must be a whole number not below 1")
    return sequences


def _of_responses(document: Mapping[str, Any]) -> int:
    value = _needed(document, "input")
    if not isinstance(value, str) and (not isinstance(value, list) or not value):
        raise _wrong("input", "must be a text or a list of at least one item")
    for name in ("background", "previous_response_id"):
        if document.get(name):
            message = f"'{name}' needs a stored response, and none is kept here: send the whole conversation as 'input'"
            raise ApiError(400, "responses_not_stored", message, param=name)
    return 1


def _of_rerank(document: Mapping[str, Any]) -> int:
    if _needed(document, "query") == "":
        raise _wrong("query", "must not be empty")
    if _needed(document, "documents") in ([], ""):
        raise _wrong("documents", "must not be empty")
    return 1


def _of_score(document: Mapping[str, Any]) -> int:
    for pair in _PAIRS:
        if all(document.get(name) not in (None, [], "") for name in pair):
            return 1
    known = ", ".join(" and ".join(f"'{name}'" for name in pair) for pair in _PAIRS)
    raise ApiError(400, "missing_parameter", f"the body needs two that are not empty: {known}", param=_PAIRS[0][0])


def _of_text(document: Mapping[str, Any]) -> int:
    """Check a text to be cut into tokens."""
    if document.get("messages") is not None:
        return _of_chat(document)
    if not isinstance(_needed(document, "prompt"), str):
        raise _wrong("prompt", "must be a text")
    return 1


def _of_tokens(document: Mapping[str, Any]) -> int:
    tokens = _needed(document, "tokens")
    if not isinstance(tokens, list) or not {type(token) for token in tokens} <= {int}:
        raise _wrong("tokens", "must be a list of token ids")
    return 1


def _of_audio(document: Mapping[str, Any]) -> int:
    _needed(document, "file")
    return 1


def _of_image(document: Mapping[str, Any]) -> int:
    _needed(document, "prompt")
    return 1


def _prompts(name: str, value: object) -> int:
    """Return the number of prompts: one text, texts, token ids, or lists of them."""
    if isinstance(value, str):
        return 1
    if isinstance(value, list):
        kinds = {type(each) for each in value}
        if kinds == {int}:
            return 1
        if kinds == {str} or (kinds == {list} and all(value)):
            return len(value)
    raise _wrong(name, "must be a text, a list of texts, or token ids, and not empty")


def _needed(document: Mapping[str, Any], name: str) -> Any:
    value = document.get(name)
    if value is None:
        raise ApiError(400, "missing_parameter", f"the body needs '{name}'", param=name)
    return value


def _wrong(name: str, what: str) -> ApiError:
    return ApiError(400, "invalid_parameter", f"'{name}' {what}", param=name)


_PAIRS = (("queries", "documents"), ("queries", "items"), ("text_1", "text_2"), ("data_1", "data_2"))
_CHECKS: Mapping[str, Callable[[Mapping[str, Any]], int]] = {
    "chat": _of_chat,
    "completion": _of_completion,
    "responses": _of_responses,
    "messages": _of_messages,
    "embedding": _of_embedding,
    "rerank": _of_rerank,
    "score": _of_score,
    "tokenize": _of_text,
    "detokenize": _of_tokens,
    "audio": _of_audio,
    "image": _of_image,
}
"""Checks that the routes name; each returns the sequences that a body asks for at once."""


def check_constraints(document: Mapping[str, Any]) -> None:
    """Raise ``ApiError`` 400 for a grammar that would end or stall the engine."""
    for name in constraints(document):
        value = document[name]
        if name == "structured_outputs" and not isinstance(value, dict):
            raise _wrong(name, "must be an object")
        if len(json.dumps(value)) > _MOST_OF_A_CONSTRAINT:
            raise _wrong(name, f"may have at most {_MOST_OF_A_CONSTRAINT} characters")
        if _longest_repeat(value) > _LONGEST_REPEAT:
            raise _wrong(name, f"may ask for at most {_LONGEST_REPEAT} repetitions of anything")


def constraints(document: Mapping[str, Any]) -> list[str]:
    """Return the parameters of a body from which the engine makes a grammar."""
    return [name for name in _CONSTRAINTS if document.get(name) is not None]


def _longest_repeat(value: Any) -> int:
    """Return the largest repetition count in a JSON schema, or in a regular expression or grammar within it."""
    if isinstance(value, str):
        return max((int(count[:9]) for pair in _REPEAT.findall(value) for count in pair if count), default=0)
    if isinstance(value, list):
        return max(map(_longest_repeat, value), default=0)
    if not isinstance(value, dict):
        return 0
    counts = [int(value[name]) for name in _COUNTS & value.keys() if isinstance(value[name], int)]
    return max([*counts, *map(_longest_repeat, value.values())], default=0)
