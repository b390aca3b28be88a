"""LiteLLM in this process, without a database: its settings, its start, and one request through it.

Everything that would leave the process or act on its own is off: retries, cooldowns, health checks (each
would wake a model), telemetry, remote price maps. What it still tries to send goes through ``WakeTransport``,
which knows no other target than an admitted call's.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import logging
import os
import secrets
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import yaml

from .call import Call, Failure, current
from .errors import error_body
from .settings import Settings
from .upstream import WakeTransport, connection_pool

Scope = dict[str, Any]
COMPLETIONS_SUFFIX = ":completions"

_ENVIRONMENT = {
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "CRITICAL",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "LITELLM_LOCAL_AUTOROUTER_PRESETS": "True",
    "LITELLM_LOCAL_BLOG_POSTS": "True",
    "LITELLM_LOCAL_POLICY_TEMPLATES": "True",
    "LITELLM_DONT_SHOW_FEEDBACK_BOX": "true",
    "DISABLE_ADMIN_UI": "True",
    "DISABLE_SCHEMA_UPDATE": "True",
    "NO_DOCS": "True",
    "NO_REDOC": "True",
    "NO_OPENAPI": "True",
    "HF_HUB_OFFLINE": "1",
}


_FIRST_BODIES: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "."}]},
    "/v1/completions": {"prompt": "."},
    "/v1/embeddings": {"input": "."},
}


def litellm_config(settings: Settings) -> dict[str, Any]:
    """LiteLLM's own configuration for these models.

    Each model is there twice: LiteLLM turns a raw completion on a ``hosted_vllm`` route into a chat, so
    ``/v1/completions`` takes a route of the provider that leaves the prompt alone.
    """
    patience = settings.limits.request_seconds + max((m.hold_seconds for m in settings.models), default=0) + 60
    routes = []
    for model in settings.models:
        common = {
            "api_base": settings.interceptor_url.rstrip("/") + "/v1",
            "api_key": "unused",
            "extra_headers": {"Host": model.host},
            "timeout": patience,
            "stream_timeout": patience,
            "max_retries": 0,
        }
        chat = {"model": f"hosted_vllm/{model.name}"} | common
        raw = {"model": f"text-completion-openai/{model.name}"} | common
        routes.append({"model_name": model.name, "litellm_params": chat})
        routes.append({"model_name": model.name + COMPLETIONS_SUFFIX, "litellm_params": raw})
    return {
        "model_list": routes,
        "router_settings": {
            "num_retries": 0,
            "disable_cooldowns": True,
            "enable_pre_call_checks": False,
            "timeout": patience,
        },
        "litellm_settings": {
            "num_retries": 0,
            "request_timeout": patience,
            "telemetry": False,
            "suppress_debug_info": True,
            "turn_off_message_logging": True,
            "drop_params": False,
        },
        "general_settings": {"background_health_checks": False, "disable_spend_logs": True},
    }


class Engine:
    """LiteLLM's proxy application. ``ready`` once it can take requests."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._pool = connection_pool()
        self._master_key = "sk-" + secrets.token_urlsafe(32)
        self._app: Any = None
        self._state: dict[str, Any] = {}
        self._running = AsyncExitStack()
        self.owned_parameters: frozenset[str] = frozenset()

    @property
    def ready(self) -> bool:
        """Whether a request can be served."""
        return self._app is not None

    async def start(self) -> None:
        """Import and start LiteLLM. The import takes seconds of CPU, so it runs beside the event loop."""
        folder = self._running.enter_context(tempfile.TemporaryDirectory(prefix="litellm-"))
        config = Path(folder) / "config.yaml"
        config.write_text(yaml.safe_dump(litellm_config(self._settings)))
        for variable in [name for name in os.environ if name.lower().endswith("_proxy")]:
            del os.environ[variable]
        os.environ.update(_ENVIRONMENT)
        os.environ["CONFIG_FILE_PATH"] = str(config)
        os.environ["LITELLM_MASTER_KEY"] = self._master_key
        with contextlib.redirect_stdout(io.StringIO()):
            app = await asyncio.to_thread(self._import)
            state = await self._running.enter_async_context(app.router.lifespan_context(app))
        self._state = dict(state or {})
        quieten()
        await self._warm(app)
        self._app = app

    async def _warm(self, app: Any) -> None:
        """Send one request of each kind as far as the transport, which refuses it: LiteLLM imports half of
        itself on its first request (half a second), and nothing of that should be on a user's clock. Nothing
        leaves the process.
        """
        refused = Failure(503, error_body("warming up", "server_error", "starting"))
        for model in self._settings.models[:1]:
            for path, body in _FIRST_BODIES.items():
                name = model.name + (COMPLETIONS_SUFFIX if path == "/v1/completions" else "")
                token = current.set(Call(model, path, failure=refused))
                try:
                    await self._ask(app, path, json.dumps({"model": name} | body).encode(), _nowhere)
                finally:
                    current.reset(token)

    def _import(self) -> Any:
        import litellm
        from litellm.llms.custom_httpx.http_handler import AsyncHTTPHandler

        transport = WakeTransport(self._settings.interceptor_url, self._settings.limits.request_seconds, self._pool)
        # One door for both of LiteLLM's client kinds: its own handler and the OpenAI library's.
        AsyncHTTPHandler.create_async_transport = staticmethod(lambda *_, **__: transport)
        litellm.aclient_session = httpx.AsyncClient(transport=transport, trust_env=False)
        quieten()
        from litellm.proxy import proxy_server
        from litellm.types.utils import all_litellm_params

        self.owned_parameters = frozenset(all_litellm_params) - {"metadata"}
        return proxy_server.app

    async def stop(self) -> None:
        """End LiteLLM's background work and close the connections."""
        self._app = None
        await self._running.aclose()
        await self._pool.aclose()

    async def handle(self, path: str, body: bytes, send: Any) -> None:
        """One POST through LiteLLM."""
        await self._ask(self._app, path, body, send)

    async def _ask(self, app: Any, path: str, body: bytes, send: Any) -> None:
        # Only these headers reach LiteLLM: a client's own could steer it.
        headers = [
            (b"host", b"gateway"),
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            (b"authorization", b"Bearer " + self._master_key.encode()),
        ]
        scope: Scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 0),
            "server": ("127.0.0.1", 4000),
            "state": dict(self._state),
        }
        await app(scope, one_body(body), send)


def quieten() -> None:
    """LiteLLM's loggers repeat request bodies on errors; what a user may read is in the access log."""
    for name in ("LiteLLM", "LiteLLM Proxy", "LiteLLM Router", "httpx", "openai", "httpcore"):
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)


async def _nowhere(_: dict[str, Any]) -> None:
    pass


def one_body(body: bytes) -> Callable[[], Awaitable[dict[str, Any]]]:
    """An ASGI ``receive`` that gives this body, then waits for ever: who leaves is noticed elsewhere."""
    sent = False

    async def receive() -> dict[str, Any]:
        nonlocal sent
        if sent:
            await asyncio.Event().wait()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return receive
