"""Which of a body's parameters do not go up to the engine, and which must be there before a model is woken for it.

Everything else is the engine's: it knows its own parameters, and what it does not know it refuses or ignores.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

# What proxies of this API obey. Nothing here would follow any of it; refusing tells a client that relies on it.
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
# Of what is handed to the rendering function: the template again, and a switch that makes it work for minutes beside
# every other request (GHSA-69j4-grxj-j64p).
_OF_THE_TEMPLATE = frozenset({"chat_template", "tokenize"})
_OF_THE_EXTENSIONS = frozenset({"kv_transfer_params", "ec_transfer_params"})
_INSIDE = {"chat_template_kwargs": _OF_THE_TEMPLATE, "vllm_xargs": _OF_THE_EXTENSIONS}

_NEEDED: dict[str, tuple[str, ...]] = {
    "/v1/chat/completions": ("messages",),
    "/v1/completions": ("prompt",),
    "/v1/embeddings": ("input", "messages"),
}


def refused(document: Mapping[str, Any]) -> list[str]:
    """The parameters that are not accepted, as a client wrote them, sorted."""
    found = [name for name in document if name in _OF_PROXIES or name in _OF_THE_ENGINE]
    for name, names in _INSIDE.items():
        inner = document.get(name)
        if isinstance(inner, dict):
            found += [f"{name}.{key}" for key in inner if key in names]
    return sorted(found)


def missing(path: str, document: Mapping[str, Any]) -> str | None:
    """What a path cannot do without, when it is not there: no model is woken for what its engine must refuse."""
    needed = _NEEDED[path]
    if any(document.get(name) is not None for name in needed):
        return None
    return " or ".join(f"'{name}'" for name in needed)
