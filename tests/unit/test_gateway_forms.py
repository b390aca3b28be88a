"""Audio through the gateway's own process: checked before a model wakes, on disk meanwhile, sent again when need be."""

from __future__ import annotations

import asyncio
import hashlib
import io
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from aiohttp import web

from tests.gateway_venv import gateway_python
from tests.unit import gateway_kit as kit

from ebbtide_gateway.form import MOST_FIELD_BYTES, MOST_FILE_BYTES  # isort: skip

pytestmark = pytest.mark.slow

KEY = "sk-demo-secret"
HEADERS = {"authorization": f"Bearer {KEY}"}
PATH = "/v1/audio/transcriptions"
SOUND = bytes(range(256)) * 40


@pytest.fixture(scope="module")
def upstream() -> Iterator[kit.Upstream]:
    with kit.stopping(kit.Upstream()) as served:
        yield served


@pytest.fixture(scope="module")
def gateway(upstream: kit.Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[kit.Gateway]:
    kube = kit.KubeApi()
    ear = {"name": "ear", "host": "ear.ebbtide-models", "gpus": 1, "holdSeconds": 5, "task": "transcribe"}
    models = [
        ear | {"aliases": ["whisper-1"], "mostSequences": 8},
        {"name": "chat", "host": "chat.ebbtide-models", "gpus": 1, "holdSeconds": 5},
    ]
    settings = kit.settings_of(
        upstream, kube, models, limits={"maxBodyBytes": 100_000, "maxFileBytes": 40 * 1024 * 1024}
    )
    keys = kit.key_file({"demo": (KEY, "everyone")}, {"everyone": ["*"]})
    with kit.serving(kit.start(gateway_python(), tmp_path_factory.mktemp("gateway"), settings, keys)) as gateway:
        yield gateway
    kube.served.stop()


@pytest.fixture(autouse=True)
def clean(upstream: kit.Upstream, gateway: kit.Gateway) -> None:
    upstream.reset()


def send(gateway: kit.Gateway, sound: bytes = SOUND, path: str = PATH, **fields: str) -> httpx.Response:
    file = ('a b"c.wav', sound, "audio/wav")
    return httpx.post(gateway.url + path, data=fields, files={"file": file}, headers=HEADERS, timeout=60)


def raw(gateway: kit.Gateway, body: bytes | Iterator[bytes], kind: str = "multipart/form-data; boundary=b") -> Any:
    return httpx.post(gateway.url + PATH, content=body, headers=HEADERS | {"content-type": kind}, timeout=60)


def part(name: str, content: bytes, more: str = "") -> bytes:
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{more}\r\n\r\n'.encode() + content + b"\r\n"


def parts(*each: bytes) -> bytes:
    return b"".join(each) + b"--b--\r\n"


FILE = part("file", SOUND, '; filename="a.wav"')


@pytest.mark.parametrize("path", [PATH, "/v1/audio/translations"])
def test_audio_reaches_its_model_whole(gateway: kit.Gateway, upstream: kit.Upstream, path: str) -> None:
    answer = send(gateway, path=path, model="whisper-1", language="en", temperature="0.2")
    assert (answer.status_code, answer.json()) == (200, {"text": "Paris"})
    (request,) = upstream.received
    assert (request.host, request.path) == ("ear.ebbtide-models", path)
    assert (request.body["model"], request.body["language"], request.body["temperature"]) == ("ear", "en", "0.2")
    name, kind, size, digest = request.body["file"]
    assert (kind, size, digest) == ("audio/wav", len(SOUND), hashlib.sha256(SOUND).hexdigest())
    assert re.fullmatch(r"[A-Za-z0-9._-]+\.wav", name)


def test_the_openai_librarys_audio_call_is_answered(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    client = openai.OpenAI(base_url=gateway.url + "/v1", api_key=KEY, max_retries=0, timeout=20)
    answer = client.audio.transcriptions.create(
        model="ear",
        file=("a.wav", io.BytesIO(SOUND)),
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert answer.text == "Paris"
    assert upstream.received[0].body["order"].count("timestamp_granularities[]") == 2


def test_the_model_may_be_named_behind_the_file(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    assert raw(gateway, parts(FILE, part("model", b"ear"))).status_code == 200
    assert upstream.received[0].body["order"] == ["model", "file"]
    assert upstream.received[0].body["file"][2] == len(SOUND)


def test_audio_is_sent_again_while_its_model_wakes(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    upstream.script += [kit.says(502, "Bad Gateway"), kit.resets, kit.says(503, "busy")]
    assert send(gateway, model="ear").status_code == 200
    assert len(upstream.received) == 4
    assert upstream.received[0].body["file"] == upstream.received[-1].body["file"]


def peak_kib(gateway: kit.Gateway) -> int:
    match = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{gateway.process.pid}/status").read_text())
    assert match is not None
    return int(match[1])


def test_the_largest_file_passes_in_little_memory(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    assert send(gateway, model="ear").status_code == 200
    before = peak_kib(gateway)
    largest = b"x" * MOST_FILE_BYTES
    assert send(gateway, largest, model="ear").status_code == 200
    assert upstream.received[-1].body["file"][2:] == [MOST_FILE_BYTES, hashlib.sha256(largest).hexdigest()]
    assert peak_kib(gateway) - before < 10 * 1024


def test_a_byte_more_is_refused_and_wakes_nothing(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    too_large = b"x" * (MOST_FILE_BYTES + 1)
    chunked = raw(gateway, iter([parts(part("model", b"ear"), part("file", too_large, '; filename="a"'))]))
    far_too_large = send(gateway, too_large * 2, model="ear")
    for refused in (send(gateway, too_large, model="ear"), chunked, far_too_large):
        error = refused.json()["error"]
        assert (refused.status_code, error["code"], error["param"]) == (413, "body_too_large", "file")
    assert upstream.untouched


def test_files_beyond_the_disks_share_are_told_to_come_again(gateway: kit.Gateway, upstream: kit.Upstream) -> None:
    woken = threading.Event()

    async def wakes(_: web.Request, __: dict[str, Any]) -> web.StreamResponse:
        while not woken.is_set():
            await asyncio.sleep(0.01)
        return web.Response()

    upstream.knock_script.append(wakes)
    largest = b"x" * MOST_FILE_BYTES
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(send, gateway, largest, model="ear")
        kit.until(lambda: upstream.knocks, "the first file waits for its model")
        refused = send(gateway, largest, model="ear")
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "too_many_bodies")
        assert int(refused.headers["retry-after"]) > 0
        woken.set()
        assert held.result(30).status_code == 200
    assert send(gateway, largest, model="ear").status_code == 200, "the disk's share was not given back"


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (parts(FILE), "missing_model"),
        (parts(part("model", b"ear")), "missing_parameter"),
        (parts(part("model", b"nobody"), FILE), "model_not_found"),
        (parts(part("model", b"chat"), FILE), "wrong_task"),
        (parts(part("model", b"ear"), part("n", b"129"), FILE), "invalid_parameter"),
        (parts(part("model", b"ear"), part("n", b"9"), FILE), "too_many_sequences"),
        (parts(part("model", b"ear"), part("temperature", b"hot"), FILE), "invalid_parameter"),
        (parts(part("model", b"ear"), part("api_base", b"http://x"), FILE), "unsupported_parameter"),
        (
            parts(part("model", b"ear"), part("vllm_xargs", b'{"kv_transfer_params": "x"}'), FILE),
            "unsupported_parameter",
        ),
        (parts(part("model", b"ear"), part("model", b"chat"), FILE), "invalid_form"),
        (parts(part("model", b"ear"), FILE, FILE), "invalid_form"),
        (parts(part("model", b"ear"), part("a b", b"1"), FILE), "invalid_form"),
        (parts(part("model", b"\xff"), FILE), "invalid_form"),
        (parts(part("model", b"ear"), *[part("x[]", b"1")] * 65, FILE), "invalid_form"),
        (parts(part("model", b"ear"), part("prompt", b"x" * MOST_FIELD_BYTES), FILE), "body_too_large"),
        (part("model", b"ear") + FILE, "invalid_form"),
        (b"{}", "invalid_form"),
        (b"", "invalid_form"),
    ],
)
def test_a_form_that_no_engine_answers_is_refused_and_wakes_nothing(
    gateway: kit.Gateway, upstream: kit.Upstream, body: bytes, code: str
) -> None:
    refused = raw(gateway, body)
    assert 400 <= refused.status_code < 500
    assert refused.json()["error"]["code"] == code
    assert upstream.untouched


@pytest.mark.parametrize(
    "kind", ["application/json", "multipart/form-data", "multipart/form-data; boundary=" + "x" * 71]
)
def test_another_kind_of_body_is_refused(gateway: kit.Gateway, upstream: kit.Upstream, kind: str) -> None:
    refused = raw(gateway, parts(part("model", b"ear"), FILE), kind)
    assert (refused.status_code, refused.json()["error"]["code"]) == (400, "invalid_form")
    assert upstream.untouched
