"""Fakes around the real gateway: an upstream that does as told, a Kubernetes API with the models' objects,
the process.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import httpx
import pytest
import yaml
from aiohttp import web

from tests.gateway_venv import gateway_python

PROJECT = Path(__file__).resolve().parents[2]
IMAGE = PROJECT / "images" / "gateway"
sys.path.insert(0, str(IMAGE))

SCALED = "apis/keda.sh/v1alpha1"
_LISTS = {
    "deployments": "apis/apps/v1",
    "pods": "api/v1",
    "scaledobjects": SCALED,
    "leaderworkersets": "apis/leaderworkerset.x-k8s.io/v1",
    "endpointslices": "apis/discovery.k8s.io/v1",
    "nodes": "of the fake alone",
    "gateways": "of the fake alone",
    "configmaps": "of the fake alone",
}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
HI: Any = [{"role": "user", "content": "hi"}]
Behaviour = Callable[[web.Request, dict[str, Any]], Awaitable[web.StreamResponse]]


def until(condition: Callable[[], Any], what: str, seconds: float = 10) -> Any:
    """Wait for a condition; the failure says which."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            if result := condition():
                return result
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Served:
    """An aiohttp application on loopback in a thread of its own."""

    def __init__(self, app: web.Application) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.loop = asyncio.new_event_loop()
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        self._thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self._thread.start()
        self.run(self._listen())

    async def _listen(self) -> None:
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port).start()

    def run(self, work: Awaitable[Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(_awaited(work), self.loop).result(15)

    @property
    def running(self) -> bool:
        return self.loop.is_running()

    def stop(self) -> None:
        self.run(self._runner.cleanup())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(5)


async def _awaited(work: Awaitable[Any]) -> Any:
    return await work


@dataclass
class Received:
    """One request that reached the upstream."""

    host: str
    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    ended: bool = False
    cut_off: bool = False


class Upstream:
    """Interceptor and engine in one. ``script`` holds what the next requests get; then everything is answered, by
    ``otherwise``. Requests without a body, which ask only whether somebody is there, are ``knocks`` and have a script
    of their own.
    """

    def __init__(self, otherwise: Behaviour | None = None) -> None:
        self.otherwise = otherwise or answers
        self.script: list[Behaviour] = []
        self.received: list[Received] = []
        self.knock_script: list[Behaviour] = []
        self.knocks: list[Received] = []
        app = web.Application(client_max_size=64 * 1024 * 1024)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self.served = Served(app)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        knocks = request.method == "GET"
        body = (
            {} if knocks else await (_form(request) if request.content_type.startswith("multipart") else request.json())
        )
        request_seen = Received(request.host, request.path, body, dict(request.headers))
        (self.knocks if knocks else self.received).append(request_seen)
        script = self.knock_script if knocks else self.script
        behaviour = script.pop(0) if script else says(200, "") if knocks else self.otherwise
        try:
            return await behaviour(request, body)
        except (asyncio.CancelledError, ConnectionError):
            request_seen.cut_off = True
            raise
        finally:
            request_seen.ended = True

    @property
    def untouched(self) -> bool:
        """Nothing came, with a body or without: no model was woken."""
        return not self.received and not self.knocks

    def reset(self) -> None:
        for kept in (self.script, self.received, self.knock_script, self.knocks):
            kept.clear()


async def _form(request: web.Request) -> dict[str, Any]:
    """A form's fields; of the file its name, its kind, its size and its digest, with the field names in their order."""
    fields: dict[str, Any] = {"order": []}
    async for part in await request.multipart():
        content = bytes(await part.read())
        fields["order"].append(part.name)
        if part.filename is None:
            fields[part.name] = content.decode()
        else:
            kind = part.headers["content-type"]
            fields[part.name] = [part.filename, kind, len(content), hashlib.sha256(content).hexdigest()]
    return fields


async def answers(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
    """What vLLM says when all is well."""
    usage = USAGE
    if request.path.endswith("/embeddings"):
        data = [{"object": "embedding", "index": 0, "embedding": [0.25, 0.5]}]
        return web.json_response({"object": "list", "model": body["model"], "data": data, "usage": usage})
    if "/audio/" in request.path:
        return web.json_response({"text": "Paris"})
    if body.get("stream"):
        return await streams(5)(request, body)
    chat = request.path.endswith("/chat/completions")
    text: dict[str, Any] = {"text": " Paris"}
    text_part = {"message": {"role": "assistant", "content": "Paris"}} if chat else text
    kind = "chat.completion" if chat else "text_completion"
    choices = [{"index": 0, "finish_reason": "stop"} | text_part]
    return web.json_response(
        {"id": "r", "object": kind, "created": 1, "model": body["model"], "choices": choices, "usage": usage}
    )


def says(status: int, text: str, kind: str = "text/plain", retry_after: int | None = None) -> Behaviour:
    async def behaviour(_: web.Request, __: dict[str, Any]) -> web.StreamResponse:
        headers = {"retry-after": str(retry_after)} if retry_after is not None else {}
        return web.Response(status=status, text=text, content_type=kind, headers=headers)

    return behaviour


def engine_error(status: int, kind: str, message: str, retry_after: int | None = None) -> Behaviour:
    """An error as vLLM 0.32 words it."""
    error = {"message": message, "type": kind, "param": None, "code": status}
    return says(status, json.dumps({"error": error}), "application/json", retry_after)


def refuses_in_the_stream(status: int, message: str, pieces: int = 1) -> Behaviour:
    """200, a stream, and in it nothing but an error, as vLLM 0.32 ends one that was overtaken at a full queue."""

    async def behaviour(request: web.Request, _: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        error = {"message": message, "type": "ServiceUnavailableError", "param": None, "code": status}
        event = f"data: {json.dumps({'error': error})}\n\n".encode()
        size = -(-len(event) // pieces)
        for start in range(0, len(event), size):
            await response.write(event[start : start + size])
            await asyncio.sleep(0.02)
        await response.write(b"data: [DONE]\n\n")
        return response

    return behaviour


async def resets(request: web.Request, _: dict[str, Any]) -> web.StreamResponse:
    """Close the connection without a byte."""
    assert request.transport is not None
    request.transport.abort()
    raise ConnectionResetError


async def holds(_: web.Request, __: dict[str, Any]) -> web.StreamResponse:
    """Keep the request, as the interceptor does while no pod is ready."""
    await asyncio.sleep(3600)
    raise AssertionError


def chunk(request: web.Request, body: dict[str, Any], text: str, finish: str | None = None) -> bytes:
    chat = request.path.endswith("/chat/completions")
    text_part: dict[str, Any] = {"delta": {"content": text}} if chat else {"text": text}
    kind = "chat.completion.chunk" if chat else "text_completion"
    choice = {"index": 0, "finish_reason": finish} | text_part
    event = {"id": "r", "object": kind, "created": 1, "model": body["model"], "choices": [choice]}
    return f"data: {json.dumps(event, separators=(',', ':'))}\n\n".encode()  # without blanks, as vLLM does


def streams(count: int, *, gate: Callable[[int], bool] | None = None, cut_after: int | None = None) -> Behaviour:
    """Chunks ``0``, ``1``, …; each waits until ``gate`` lets it go; ``cut_after`` breaks the connection off."""

    async def behaviour(request: web.Request, body: dict[str, Any]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8"})
        await response.prepare(request)
        for number in range(count):
            while gate is not None and not gate(number):
                await asyncio.sleep(0.01)
            if cut_after == number:
                await asyncio.sleep(0.05)
                return await resets(request, body)
            await response.write(chunk(request, body, str(number)))
        await response.write(chunk(request, body, "", "stop"))
        if (body.get("stream_options") or {}).get("include_usage"):
            counts = json.dumps({"id": "r", "choices": [], "usage": USAGE}, separators=(",", ":"))
            await response.write(f"data: {counts}\n\n".encode())
        await response.write(b"data: [DONE]\n\n")
        return response

    return behaviour


class KubeApi:
    """List and watch of Deployments, pods, EndpointSlices and ScaledObjects; patches of the last; Events taken in."""

    def __init__(self) -> None:
        self.kinds: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in _LISTS}
        self.events: list[dict[str, Any]] = []
        self.patches: list[dict[str, Any]] = []
        self.version = 1
        self.lists = 0
        self.answering = True
        self.tokens: set[str] = set()
        self._watchers: dict[str, list[asyncio.Queue[dict[str, Any]]]] = {kind: [] for kind in self.kinds}
        self._past: dict[str, list[tuple[int, dict[str, Any]]]] = {kind: [] for kind in self.kinds}
        app = web.Application()
        for kind, group in _LISTS.items():
            path = f"/{group}/namespaces/ebbtide-models/{kind}"
            app.router.add_get(path, functools.partial(self._handle, kind))
        app.router.add_get("/api/v1/nodes", functools.partial(self._handle, "nodes"))
        app.router.add_get("/api/v1/namespaces/ebbtide/pods", functools.partial(self._handle, "gateways"))
        maps = "/api/v1/namespaces/ebbtide/configmaps"
        app.router.add_get(maps, functools.partial(self._handle, "configmaps"))
        app.router.add_get(f"{maps}/{{name}}", self._config_map)
        app.router.add_patch(f"{maps}/{{name}}", self._patch_config_map)
        app.router.add_patch(f"/{SCALED}/namespaces/ebbtide-models/scaledobjects/{{name}}", self._patch)
        app.router.add_post("/api/v1/namespaces/ebbtide-models/events", self._event)
        self.served = Served(app)

    @property
    def items(self) -> dict[str, dict[str, Any]]:
        return self.kinds["deployments"]

    @property
    def watchers(self) -> int:
        return len(self._watchers["deployments"])

    async def _handle(self, kind: str, request: web.Request) -> web.StreamResponse:
        self.tokens.add(request.headers.get("authorization", ""))
        if "watch" not in request.query:
            self.lists += kind == "deployments"
            while not self.answering:
                await asyncio.sleep(0.02)
            metadata = {"resourceVersion": str(self.version)}
            return web.json_response({"metadata": metadata, "items": list(self.kinds[kind].values())})
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        for version, event in self._past[kind]:
            if version > int(request.query["resourceVersion"]):
                queue.put_nowait(event)  # what happened between the list and this watch
        self._watchers[kind].append(queue)
        response = web.StreamResponse(headers={"content-type": "application/json"})
        await response.prepare(request)
        try:
            while True:
                await response.write(json.dumps(await queue.get()).encode() + b"\n")
        finally:
            self._watchers[kind].remove(queue)

    async def _patch(self, request: web.Request) -> web.StreamResponse:
        """A merge patch as the API server takes it: with an older version in it, 409. Only annotations are taken."""
        item = self.kinds["scaledobjects"][request.match_info["name"]]
        change = await request.json()
        version = change["metadata"].pop("resourceVersion")
        assert request.content_type == "application/merge-patch+json"
        assert (set(change), set(change["metadata"])) == ({"metadata"}, {"annotations"})
        if version != item["metadata"]["resourceVersion"]:
            return web.json_response({"kind": "Status", "code": 409}, status=409)
        self.patches.append(change)
        merged = {**item["metadata"].get("annotations", {}), **change["metadata"]["annotations"]}
        kept = {name: value for name, value in merged.items() if value is not None}
        self._put("scaledobjects", {**item, "metadata": {**item["metadata"], "annotations": kept}})
        return web.json_response(self.kinds["scaledobjects"][request.match_info["name"]])

    async def _config_map(self, request: web.Request) -> web.StreamResponse:
        return web.json_response(self.kinds["configmaps"][request.match_info["name"]])

    async def _patch_config_map(self, request: web.Request) -> web.StreamResponse:
        """A merge patch of a ConfigMap's data, refused with another version than the newest."""
        item, change = self.kinds["configmaps"][request.match_info["name"]], await request.json()
        if change["metadata"]["resourceVersion"] != item["metadata"]["resourceVersion"]:
            return web.json_response({"kind": "Status", "code": 409}, status=409)
        merged = {**item.get("data", {}), **change["data"]}
        data = {name: value for name, value in merged.items() if value is not None}
        self._put("configmaps", {**item, "data": data})
        return web.json_response(self.kinds["configmaps"][request.match_info["name"]])

    async def _event(self, request: web.Request) -> web.StreamResponse:
        self.events.append(await request.json())
        return web.json_response({}, status=201)

    def _put(self, kind: str, item: dict[str, Any], happened: str = "MODIFIED") -> None:
        self.version += 1
        item = {**item, "metadata": {**item["metadata"], "resourceVersion": str(self.version)}}
        if happened == "DELETED":
            self.kinds[kind].pop(item["metadata"]["name"], None)
        else:
            self.kinds[kind][item["metadata"]["name"]] = item
        event = {"type": happened, "object": item}
        self._past[kind].append((self.version, event))
        for queue in self._watchers[kind]:
            queue.put_nowait(event)

    def put(self, kind: str, item: dict[str, Any], happened: str = "MODIFIED") -> None:
        """An object as it is from now on, or with ``DELETED`` is no more."""

        async def change() -> None:
            self._put(kind, item, happened)

        self.served.run(change())

    def fail(self, name: str, failure: str | None) -> None:
        """What the wake keeper writes on a model's ScaledObject; None: nothing."""
        annotations = {"ebbtide.dev/wake-failure": failure} if failure is not None else {}
        labels = {"ebbtide.dev/model": name}
        self.put("scaledobjects", {"metadata": {"name": name, "labels": labels, "annotations": annotations}})

    def scale(self, name: str, replicas: int, gpus: int = 1, ready: int | None = None) -> None:
        """What the cluster does to a model's Deployment; with nothing said every replica is ready."""
        container = {"resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}
        self.put(
            "deployments",
            {
                "metadata": {"name": name, "labels": {"ebbtide.dev/model": name}},
                "spec": {"replicas": replicas, "template": {"spec": {"containers": [container]}}},
                "status": {"readyReplicas": replicas if ready is None else ready},
            },
        )

    def replicas(self, name: str, *addresses: str, ready: bool = True) -> None:
        """A model's EndpointSlice; a port of its own for each replica makes a slice for each."""
        for gone in [item for item in self.kinds["endpointslices"].values() if item["metadata"]["name"][:-2] == name]:
            self.put("endpointslices", gone, "DELETED")
        for number, address in enumerate(addresses):
            host, _, port = address.rpartition(":")
            metadata = {"name": f"{name}-{number}", "labels": {"ebbtide.dev/model": name}}
            endpoint = {"addresses": [host], "conditions": {"ready": ready}}
            self.put("endpointslices", {"metadata": metadata, "endpoints": [endpoint], "ports": [{"port": int(port)}]})


def key_file(
    keys: dict[str, tuple[str, str]], groups: dict[str, list[str]], rights: dict[str, dict[str, Any]] | None = None
) -> str:
    """Key name → (key, group) as the Secret carries them; ``rights`` adds to a group's models."""
    return json.dumps(
        {
            "keys": [
                {"name": name, "sha256": hashlib.sha256(key.encode()).hexdigest(), "group": group}
                for name, (key, group) in keys.items()
            ],
            "groups": {name: {"models": models} | (rights or {}).get(name, {}) for name, models in groups.items()},
        }
    )


def swap(folder: Path, content: str) -> None:
    """Replace the file as the kubelet does: new folder, ``..data`` symlink renamed over the old one."""
    fresh = folder / f"..{time.monotonic_ns()}"
    fresh.mkdir()
    (fresh / "keys.json").write_text(content)
    (folder / "..new").symlink_to(fresh.name)
    (folder / "..new").rename(folder / "..data")
    if not (folder / "keys.json").is_symlink():
        (folder / "keys.json").symlink_to("..data/keys.json")


# Records every address that Python code connects to or looks up, then becomes the gateway.
_LAUNCHER = """
import os, runpy, sys
log = open(os.environ["AUDIT_LOG"], "a", buffering=1)
def hook(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo"):
        address = arguments[1] if event == "socket.connect" else arguments[0]
        print(event, address, file=log)
sys.addaudithook(hook)
runpy.run_module("ebbtide_gateway", run_name="__main__", alter_sys=True)
"""


@dataclass
class Gateway:
    """The real process."""

    process: subprocess.Popen[bytes]
    url: str
    folder: Path
    started: float
    metrics_url: str

    def log(self) -> str:
        return (self.folder / "log").read_text()

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(20)


def start(
    python: Path,
    folder: Path,
    settings: dict[str, Any],
    keys: str,
    image: Path = IMAGE,
    command: tuple[str, ...] = ("-c", _LAUNCHER),
) -> Gateway:
    """Start it; does not wait."""
    (folder / "gateway.yaml").write_text(yaml.safe_dump(settings))
    (folder / "token").write_text("pod-token")
    (folder / "keys").mkdir()
    swap(folder / "keys", keys)
    port, metrics_port = free_port(), free_port()
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "PYTHONPATH": str(image),
        "PYTHONDONTWRITEBYTECODE": "1",
        "AUDIT_LOG": str(folder / "audit"),
        "EBBTIDE_GATEWAY_CONFIG": str(folder / "gateway.yaml"),
        "EBBTIDE_GATEWAY_KEYS": str(folder / "keys" / "keys.json"),
        "EBBTIDE_GATEWAY_SERVICE_ACCOUNT": str(folder),
        "EBBTIDE_GATEWAY_HOST": "127.0.0.1",
        "EBBTIDE_GATEWAY_PORT": str(port),
        "EBBTIDE_GATEWAY_METRICS_PORT": str(metrics_port),
    }
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(python), *command], env=environment, stdout=log, stderr=subprocess.STDOUT, cwd=folder
        )
    metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
    return Gateway(process, f"http://127.0.0.1:{port}", folder, time.monotonic(), metrics_url)


@contextlib.contextmanager
def serving(gateway: Gateway, seconds: float = 60) -> Iterator[Gateway]:
    """It, once it is ready; ended after that."""
    try:
        until(lambda: httpx.get(gateway.url + "/health/readiness").status_code == 200, "readiness", seconds)
        yield gateway
    finally:
        gateway.process.kill()
        gateway.process.wait(10)


Fake = TypeVar("Fake", "Upstream", "KubeApi")


@contextlib.contextmanager
def stopping(fake: Fake) -> Iterator[Fake]:
    """It; ended after that."""
    try:
        yield fake
    finally:
        fake.served.stop()


def settings_of(upstream: Upstream, kube: KubeApi, models: list[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """What a gateway before these two is told: the models, and ``more`` sections of its file."""
    return {
        "interceptorUrl": upstream.served.url,
        "models": models,
        "cluster": {"apiServer": kube.served.url},
        **more,
    }


def has_database(gateway: Gateway) -> bool:
    """Return True while a gateway follows its database."""
    return "ebbtide_gateway_database_up 1.0" in httpx.get(gateway.metrics_url).text


def fakes(
    replicas: Mapping[str, int], otherwise: Behaviour | None = None, scope: Literal["module", "function"] = "module"
) -> tuple[Any, Any]:
    """Return the fixtures ``upstream`` and ``kube``. ``replicas`` are the models' at first."""

    @pytest.fixture(scope=scope)
    def upstream() -> Iterator[Upstream]:
        with stopping(Upstream(otherwise)) as fake:
            yield fake

    @pytest.fixture(scope=scope)
    def kube() -> Iterator[KubeApi]:
        with stopping(KubeApi()) as fake:
            for name, number in replicas.items():
                fake.scale(name, number)
            yield fake

    return upstream, kube


def fixtures(
    models: list[dict[str, Any]],
    keys: str,
    *,
    replicas: Mapping[str, int],
    otherwise: Behaviour | None = None,
    scope: Literal["module", "function"] = "module",
    **sections: Any,
) -> tuple[Any, Any, Any]:
    """Return those of ``fakes`` and ``gateway``: the real process before both, once it is ready. ``sections`` are
    further ones of its file.
    """

    @pytest.fixture(scope=scope)
    def gateway(upstream: Upstream, kube: KubeApi, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
        settings = settings_of(upstream, kube, models, **sections)
        with serving(start(gateway_python(), tmp_path_factory.mktemp("gateway"), settings, keys)) as process:
            yield process

    return *fakes(replicas, otherwise, scope), gateway
