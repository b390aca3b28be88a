"""Parameters of a body: those that are refused, and what must be right before a model is woken for it.

No model is woken for what its engine must refuse: only what any engine refuses is checked, by the shape and the ranges
of OpenAI's API and vLLM 0.32. Everything else is left to the engine: it knows its own parameters, and refuses or
ignores those it does not know.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ApiError
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

_CONSTRAINTS = ("response_format", "structured_outputs", "tools")
"""The engine makes a grammar from these, in its own process: every other request waits for it."""
_MOST_OF_A_CONSTRAINT = 65_536
_LONGEST_REPEAT = 10_000
_REPEAT = re.compile(r"\{(\d+)?,?(\d+)?\}")
_COUNTS = frozenset({"minItems", "maxItems", "minLength", "maxLength", "minProperties", "maxProperties"})

_CHAT, _COMPLETIONS, _EMBEDDINGS = "/v1/chat/completions", "/v1/completions", "/v1/embeddings"
_PATHS_OF = {"chat": (_CHAT, _COMPLETIONS), "embed": (_EMBEDDINGS,)}


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
    found = [name for name in document if name in _OF_PROXIES or name in _OF_THE_ENGINE]
    for name, names in _INSIDE.items():
        inner = document.get(name)
        if isinstance(inner, dict):
            found += [f"{name}.{key}" for key in inner if key in names]
    return sorted(found)


def check(path: str, document: Mapping[str, Any], model: Model) -> None:
    """Raise ``ApiError`` 404 when the model does not serve the path's task, 400 for what its engine must refuse."""
    if path not in _PATHS_OF[model.task]:
        paths = ", ".join(_PATHS_OF[model.task])
        raise ApiError(404, "wrong_task", f"model {model.name!r} answers {paths}, not {path}", param="model")
    sequences = {_CHAT: _of_chat, _COMPLETIONS: _of_completion, _EMBEDDINGS: _of_embedding}[path](document)
    if path == _EMBEDDINGS:
        return
    for name, allowed in _RANGES.items():
        value = document.get(name)
        if value is not None and not allowed.has(value):
            raise _wrong(name, f"must be {allowed}")
    check_constraints(document)
    _fits(sequences * int(document.get("n") or 1), model)


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


def _prompts(name: str, given: object) -> int:
    """Return the number of prompts: one text, texts, token ids, or lists of them."""
    if isinstance(given, str):
        return 1
    if isinstance(given, list):
        kinds = {type(each) for each in given}
        if kinds == {int}:
            return 1
        if kinds == {str} or (kinds == {list} and all(given)):
            return len(given)
    raise _wrong(name, "must be a text, a list of texts, or token ids, and not empty")


def _needed(document: Mapping[str, Any], name: str) -> Any:
    value = document.get(name)
    if value is None:
        raise ApiError(400, "missing_parameter", f"the body needs '{name}'", param=name)
    return value


def _wrong(name: str, what: str) -> ApiError:
    return ApiError(400, "invalid_parameter", f"'{name}' {what}", param=name)


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
