"""LoRA adapters that calls have loaded: vLLM's two paths for it, answered here, and the list of them in the cluster.

An adapter is called ``MODEL/NAME``, and NAME is its folder in the store's folder for the model. An engine that is asked
for such a name finds the files by itself (``images/vllm/plugins``). So the list says only which names there are, and
replicas that start later or again agree with the others. It is kept in one ConfigMap, which all gateway pods follow.

Whether the store has an adapter, and whether its base and rank fit, a ready engine says, which loads it with that: a
call for a model that sleeps is refused and wakes nobody.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import httpx
from ebbtide_kube.api import authorization, config_maps, describe
from ebbtide_kube.informer import Informer

from .errors import ApiError
from .keys import Caller
from .settings import Adapter, Model, Settings

LOAD, UNLOAD = "/v1/load_lora_adapter", "/v1/unload_lora_adapter"
_NAME = re.compile(r"([a-z0-9][a-z0-9-]{0,62})/([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)")
_TRY_PATH = "/tokenize"  # the engine looks for the adapter of any request; this one computes nothing
_TRIES = 5
_SEEN_SECONDS = 5.0  # for which a call waits until this process has its own change from the watch
_RETRY_AFTER_SECONDS = 5.0
_log = logging.getLogger("ebbtide.gateway.adapters")


class Engines(Protocol):
    """What reaches the replicas."""

    async def ask_ready(self, model: Model, path: str, body: bytes) -> tuple[int, dict[str, Any] | None] | None: ...


class LoadedAdapters:
    """The models by every name, with the adapters that calls have loaded (``models``). ``looked``: the list was read,
    or is known to be out of reach. Without a ConfigMap in the settings no model takes any."""

    def __init__(
        self, settings: Settings, client: httpx.AsyncClient, token: Path, seen_seconds: float = _SEEN_SECONDS
    ) -> None:
        self._plain = settings.by_any_name()
        self._names: frozenset[str] = frozenset()
        self._client = client
        self._token = token
        self._seen_seconds = seen_seconds
        self._news = asyncio.Event()
        self._writing = asyncio.Lock()
        self.models: Mapping[str, Model] = self._plain
        self.looked = settings.cluster.adapters is None
        self.view: Informer | None = None
        if (where := settings.cluster.adapters) is not None:
            path = config_maps(where.namespace)
            without = "adapters that calls load or take out elsewhere are not known here"
            self.view = Informer(client, path, token, self._changed, without, name=where.name)
            self._path, self._name = f"{path}/{where.name}", where.name

    def _changed(self) -> None:
        """Take over the list; while it cannot be read, the last one stays in force."""
        assert self.view is not None
        if self.view.items is not None:
            data = self.view.items.get(self._name, {}).get("data") or {}
            self._names = frozenset(key.replace(".", "/", 1) for key in data)
            self.models = {**self._loaded(), **self._plain}
        self.looked = True
        self._news.set()
        self._news = asyncio.Event()

    def _loaded(self) -> dict[str, Model]:
        found = {}
        for name in self._names:
            base = self._plain.get(name.partition("/")[0])
            if base is not None and base.hot_adapters:
                adapter = Adapter(name=name, root=name, loaded=True)
                found[name] = base.model_copy(update={"adapter": adapter})
        return found

    def asked(self, path: str, body: bytes, caller: Caller) -> tuple[Model, str]:
        """Return the model and the adapter's name that a call names. Raises ``ApiError`` for a call that is not right
        or that this caller may not make."""
        try:
            document = json.loads(body)
        except (ValueError, RecursionError):
            document = None
        if not isinstance(document, dict):
            raise ApiError(400, "invalid_json", "the request body must be a JSON object")
        name, where = document.get("lora_name"), document.get("lora_path")
        if not isinstance(name, str) or not (named := _NAME.fullmatch(name)):
            message = "the body needs 'lora_name': MODEL/NAME, the name being the adapter's folder in the store"
            raise ApiError(400, "invalid_adapter_name", message, param="lora_name")
        if where not in (None, name):
            message = "'lora_path' follows from the name: leave it out, or give it the value of 'lora_name'"
            raise ApiError(400, "unsupported_parameter", message, param="lora_path")
        if more := sorted(key for key, value in document.items() if value and key not in ("lora_name", "lora_path")):
            raise ApiError(400, "unsupported_parameter", f"not accepted here: {', '.join(more)[:200]}")
        model = self._plain.get(named[1])
        allowed = ", ".join(sorted(caller.rights.load_adapters)) or "none"
        if model is None or model.name != named[1]:
            message = f"there is no model {named[1][:100]!r}; models into which you may load adapters: {allowed}"
            raise ApiError(404, "model_not_found", message)
        if model.name not in caller.rights.load_adapters:
            verb = "load adapters into" if path == LOAD else "take adapters out of"
            message = f"your key's group {caller.group!r} may not {verb} model {model.name!r}; it may for: {allowed}"
            raise ApiError(403, "adapters_not_allowed", message)
        if not model.hot_adapters:
            message = f"model {model.name!r} takes no adapters while it runs: it has no hotAdapters"
            raise ApiError(400, "adapters_not_taken", message)
        return model, name

    async def load(self, model: Model, name: str, engines: Engines) -> None:
        """Load an adapter, unless it is loaded already. Raises ``ApiError``; nobody is woken."""
        if name not in self._names:
            _check_room(model, self._names)
            await _try(model, name, engines)
            await self._write(model, name, is_there=True)

    async def unload(self, model: Model, name: str) -> None:
        """Take an adapter out: it is no name any more, here and, a moment later, in other pods of the gateway. Engines
        forget it when they need its place. Raises ``ApiError``."""
        if name not in self._names:
            raise ApiError(404, "adapter_not_found", f"adapter {name!r} is not loaded", param="lora_name")
        await self._write(model, name, is_there=False)

    async def _write(self, model: Model, name: str, is_there: bool) -> None:
        """Write the list, on what it is now: another pod may have written it meanwhile."""
        key = name.replace("/", ".", 1)
        try:
            async with self._writing:
                for _ in range(_TRIES):
                    headers = authorization(self._token)
                    now = await self._client.get(self._path, headers=headers, timeout=10)
                    now.raise_for_status()
                    document = now.json()
                    data = document.get("data") or {}
                    if (key in data) is is_there:
                        break
                    if is_there:
                        _check_room(model, [each.replace(".", "/", 1) for each in data])
                    patch = {
                        "metadata": {"resourceVersion": document["metadata"]["resourceVersion"]},
                        "data": {key: "loaded" if is_there else None},
                    }
                    headers["content-type"] = "application/merge-patch+json"
                    written = await self._client.patch(
                        self._path, content=json.dumps(patch), headers=headers, timeout=10
                    )
                    if written.status_code != httpx.codes.CONFLICT:
                        written.raise_for_status()
                        break
                else:
                    raise _not_written()
        except (httpx.HTTPError, OSError, ValueError, LookupError) as problem:
            _log.warning("the list of adapters cannot be written (%s)", describe(problem))
            raise _not_written() from None
        await self._until(name, is_there)

    async def _until(self, name: str, is_there: bool) -> None:
        """Return when this process has the new list, so that the caller's next request meets it."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._seen_seconds):
                while (name in self._names) is not is_there:
                    await self._news.wait()


def _check_room(model: Model, names: Any) -> None:
    """Raise ``ApiError`` if as many adapters are loaded into the model as it has room for."""
    there = sorted(name for name in names if name.partition("/")[0] == model.name)
    if len(there) >= model.hot_adapters:
        message = (
            f"model {model.name!r} has room for {model.hot_adapters} adapter(s) loaded by calls, and has "
            f"{', '.join(there)}: take one out first"
        )
        raise ApiError(409, "adapter_room_full", message)


async def _try(model: Model, name: str, engines: Engines) -> None:
    """Have a ready engine load the adapter. Raises ``ApiError`` with its reason if it does not."""
    body = json.dumps({"model": name, "prompt": "a"}).encode()
    answer = await engines.ask_ready(model, _TRY_PATH, body)
    if answer is None:
        message = (
            f"no replica of model {model.name!r} is ready, and its engine judges an adapter: wake it, and load then"
        )
        raise ApiError(409, "model_not_awake", message, retry_after=_RETRY_AFTER_SECONDS)
    status, error = answer
    if status == 200:
        return
    said = str(error["message"]) if error is not None else f"it answered {status} without a reason"
    if status == 404:
        message = f"the store has no adapter {name!r}: no folder of that name with an adapter_config.json"
        raise ApiError(404, "adapter_not_found", message, param="lora_name")
    if status == 400:
        raise ApiError(400, "adapter_refused", said, param="lora_name")
    raise ApiError(502, "upstream_error", f"the engine of model {model.name!r} could not load {name!r}: {said}")


def _not_written() -> ApiError:
    message = "the list of adapters could not be written: the cluster does not take it now"
    return ApiError(503, "adapters_not_written", message, retry_after=_RETRY_AFTER_SECONDS)
