"""LoRA adapters that are loaded while the engine runs: a plugin of vLLM (0.32.0), which the entry point switches on.

An adapter's name says where its files are: ``MODEL/NAME`` is the folder NAME in the store's folder for this model. So
every replica finds the same files, also after a restart, and there is no list to bring them. Which names may be asked
for is the gateway's to say; this judges what the engine does not: the base, and the rank that the stack file allows.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import runpy
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from pathlib import Path
from typing import Any

SETTINGS = "EBBTIDE_ADAPTERS"
COPY = "/usr/local/bin/fetch_adapters.py"
COPIES = "/cache/adapters"
CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
# vLLM's own ways to load from any path, and those of the hosting standards that it offers them by
_CLOSED = ("/v1/load_lora_adapter", "/v1/unload_lora_adapter", "/adapters", "/invocations")


class Refused(ValueError):
    """Adapter that is there and must not be loaded; vLLM answers 400 with the words of a ``ValueError``."""


def folder_of(settings: Mapping[str, Any], name: str) -> Path | None:
    """Return the folder with an adapter's files, copied there first from a bucket; None where there is no such
    adapter. Raises ``Refused``."""
    base, _, own = name.partition("/")
    if base != settings["model"] or not _NAME.fullmatch(own):
        return None
    source = f"{settings['folder']}/{own}"
    folder = Path(COPIES, own) if "://" in source else Path(source)
    if "://" in source and runpy.run_path(COPY)["main"]([source, str(folder)]) != 0:
        return None
    if not (folder / CONFIG).is_file():
        return None
    judge(settings, folder, name)
    return folder


def judge(settings: Mapping[str, Any], folder: Path, name: str) -> None:
    """Raise ``Refused`` for an adapter of another base, of a rank that is too high, or that comes as a pickle. All else
    that the engine does not take it refuses itself."""
    try:
        config = json.loads((folder / CONFIG).read_text())
        ranks = [config["r"], *(config.get("rank_pattern") or {}).values()]
        rank, base = max(map(int, ranks)), config["base_model_name_or_path"]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise Refused(f"adapter {name!r} has no {CONFIG} that says its rank and base") from None
    if str(base).lower() != str(settings["base"]).lower():
        raise Refused(f"adapter {name!r} was trained for {str(base)[:200]!r}, and this model is {settings['base']!r}")
    if rank > settings["rank"]:
        raise Refused(f"adapter {name!r} has rank {rank}, allowed is {settings['rank']} (hotAdapters.maxRank)")
    if not (folder / WEIGHTS).is_file():
        raise Refused(f"adapter {name!r} has no {WEIGHTS}: a pickle can run code in the engine, and is not loaded")


def register() -> None:
    """Offer vLLM the resolver, in every process that loads plugins."""
    from vllm.lora.request import LoRARequest  # type: ignore[import-not-found,unused-ignore]
    from vllm.lora.resolver import LoRAResolver, LoRAResolverRegistry  # type: ignore[import-not-found,unused-ignore]

    settings = json.loads(os.environ[SETTINGS])

    class Resolver(LoRAResolver):  # type: ignore[misc,unused-ignore]
        async def resolve_lora(self, base_model_name: str, lora_name: str) -> Any:
            folder = await asyncio.to_thread(folder_of, settings, lora_name)
            # the number is set by vLLM, which counts them
            return None if folder is None else LoRARequest(lora_name, 1, str(folder))

    LoRAResolverRegistry.register_resolver("ebbtide", Resolver())


class Closed:
    """ASGI middleware: 404 for the paths that would load from anywhere, to whoever reaches the engine's port."""

    def __init__(self, app: Callable[..., Awaitable[None]]) -> None:
        self._app = app

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(_CLOSED):
            await self._app(scope, receive, send)
            return
        headers = [(b"content-type", b"text/plain"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 404, "headers": headers})
        await send({"type": "http.response.body", "body": b""})
