"""Where a model's facts come from: a folder, an archive, a preset, and a hub that runs on this machine."""

from __future__ import annotations

import contextlib
import http.server
import json
import os
import re
import struct
import tarfile
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import HfApi
from hypothesis import given
from hypothesis import strategies as st

from infra.planner.facts import build, config_json, hub, model_source, presets
from infra.planner.facts.config_json import UnreadableConfig
from infra.planner.facts.model_archive import UnreadableArchive
from infra.planner.facts.model_facts import KvLayers
from infra.planner.facts.model_source import UnknownModel, resolve
from infra.planner.sizing.compatibility import judge_doubts
from infra.planner.sizing.memory import Engine, activation_bytes

CONFIG = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
    "max_position_embeddings": 2048,
    "torch_dtype": "bfloat16",
    "tie_word_embeddings": True,
}
COMMIT = "0123456789abcdef0123456789abcdef01234567"
CARD = "---\nlanguage: en\nlicense: apache-2.0\n---\n# A model\n"
TENSORS = {
    "model.embed_tokens.weight": [1000, 64],
    "model.layers.0.self_attn.k_proj.weight": [32, 64],
    "model.layers.0.mlp.up_proj.weight": [128, 64],
    "model.norm.weight": [64],
}
BYTES = 2 * (1000 * 64 + 32 * 64 + 128 * 64 + 64)


def safetensors(shapes: dict[str, list[int]]) -> bytes:
    header: dict[str, Any] = {}
    at = 0
    for name, shape in shapes.items():
        size = 2
        for length in shape:
            size *= length
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + bytes(at)


def files() -> dict[str, bytes]:
    return {
        "config.json": json.dumps(CONFIG).encode(),
        "tokenizer_config.json": json.dumps({"chat_template": "{{ messages }}"}).encode(),
        "model.safetensors": safetensors(TENSORS),
        "README.md": CARD.encode(),
    }


def write(folder: Path, **more: bytes | None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in {**files(), **more}.items():
        if content is not None:
            (folder / name).write_bytes(content)
    return folder


# Folders


def test_a_folder_gives_real_bytes_licence_template_and_formats(tmp_path: Path) -> None:
    facts = resolve(str(write(tmp_path / "own-model")))
    assert facts.id == "own-model"
    assert facts.weights is not None
    assert (facts.weights.total, facts.weights.source) == (BYTES, "safetensors headers")
    assert (facts.weights.kv_sharded, facts.weights.replicated) == (2 * 32 * 64, 2 * 64)
    assert (facts.licence, facts.chat_template, facts.task) == ("apache-2.0", True, "chat")
    assert facts.weight_files == ("safetensors",)
    assert facts.kv == (KvLayers(2, 2, 32),)


def test_a_folder_with_a_config_alone_is_planned_by_its_architecture(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    facts = resolve(str(tmp_path))
    assert facts.weights is not None
    assert facts.weights.source == "architecture"
    assert (facts.chat_template, facts.task, facts.weight_files) == (None, None, ())


def test_an_index_without_its_files_gives_the_total(tmp_path: Path) -> None:
    index = {"metadata": {"total_size": 1_000_000}, "weight_map": {"a": "model-00001-of-00002.safetensors"}}
    write(tmp_path, **{"model.safetensors": None, "model.safetensors.index.json": json.dumps(index).encode()})
    facts = resolve(str(tmp_path))
    assert facts.weights is not None
    assert (facts.weights.total, facts.weights.source) == (1_000_000, "safetensors index")


def test_weights_that_a_repository_holds_twice_are_counted_once(tmp_path: Path) -> None:
    write(tmp_path, **{"consolidated.safetensors": safetensors(TENSORS)})
    weights = resolve(str(tmp_path)).weights
    assert weights is not None
    assert weights.total == BYTES


def test_a_pickle_beside_the_training_arguments_is_no_weight_file(tmp_path: Path) -> None:
    write(tmp_path, **{"training_args.bin": b"x", "tokenizer.gguf": None})
    assert resolve(str(tmp_path)).weight_files == ("safetensors",)
    write(tmp_path, **{"pytorch_model.bin": b"x"})
    assert resolve(str(tmp_path)).weight_files == ("safetensors", "bin")


def test_a_repository_for_sentence_transformers_is_an_embedding_model(tmp_path: Path) -> None:
    assert resolve(str(write(tmp_path, **{"modules.json": b"[]"}))).task == "embed"


def test_a_folder_of_the_hubs_cache_knows_its_id_and_commit(tmp_path: Path) -> None:
    facts = resolve(str(write(tmp_path / "models--some-org--a.Model-1" / "snapshots" / COMMIT)))
    assert (facts.id, facts.revision) == ("some-org/a.Model-1", COMMIT)


WHISPER = {
    "architectures": ["WhisperForConditionalGeneration"],
    "model_type": "whisper",
    "d_model": 384,
    "num_hidden_layers": 32,
    "decoder_layers": 4,
    "decoder_attention_heads": 6,
    "decoder_ffn_dim": 1536,
    "vocab_size": 51865,
    "max_target_positions": 448,
}
CROSS_ENCODER = {**CONFIG, "architectures": ["BertForSequenceClassification"], "id2label": {"0": "LABEL_0"}}


@pytest.mark.parametrize(("config", "task"), [(WHISPER, "transcribe"), (CROSS_ENCODER, "classify")])
def test_what_a_model_is_for_follows_from_its_architecture(tmp_path: Path, config: dict[str, Any], task: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert model_source.from_path(tmp_path).task == task


def test_a_decoder_beside_an_encoder_is_the_one_that_counts(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(WHISPER))
    facts = model_source.from_path(tmp_path)
    assert (facts.layers, facts.heads, facts.context) == (4, 6, 448)
    (doubt,) = judge_doubts(facts, ())
    assert "what its decoder keeps of the audio is not counted" in doubt.message


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"[" * 100_000, b'"x"'])
def test_a_config_that_cannot_be_read_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(UnreadableConfig, match=re.escape(str(tmp_path / "config.json"))):
        resolve(str(tmp_path))


def test_a_folder_without_a_config_is_named(tmp_path: Path) -> None:
    with pytest.raises(UnreadableConfig, match=f"^{re.escape(str(tmp_path))} has no config.json; allowed: "):
        resolve(str(tmp_path))


def test_a_pipeline_for_images_is_refused_by_what_it_is(tmp_path: Path, own_hub: dict[str, Any]) -> None:
    (tmp_path / "model_index.json").write_text('{"_class_name": "FluxPipeline"}')
    words = "is a diffusers pipeline for images (model_index.json), and no engine here serves one; allowed: "
    with pytest.raises(UnreadableConfig, match=re.escape(f"{tmp_path} {words}")):
        resolve(str(tmp_path))
    own_hub["files"] = {"model_index.json": b"{}"}
    with pytest.raises(hub.HubError, match=re.escape(f"own/model {words}")):
        hub.from_hub("own/model", api=own_hub["api"]())


# What checkpoints leave out or write in newer ways


def test_gemma_3_is_read_though_its_file_leaves_out_what_its_class_has() -> None:
    # google/gemma-3-4b-it: neither heads nor vocabulary are in its text_config
    shape = config_json.read(
        {
            "model_type": "gemma3",
            "text_config": {
                "model_type": "gemma3_text",
                "hidden_size": 2560,
                "intermediate_size": 10240,
                "num_hidden_layers": 34,
                "rope_scaling": {"factor": 8.0, "rope_type": "linear"},
                "sliding_window": 1024,
            },
        }
    )
    assert (shape.heads, shape.kv_heads, shape.head_dim, shape.vocab, shape.context) == (8, 4, 256, 262_208, 131_072)
    assert shape.tied
    assert [(g.count, g.window) for g in shape.kv] == [(5, None), (29, 1024)]


@pytest.mark.parametrize(
    ("more", "context"),
    [
        ({}, 2048),
        # vLLM 0.32.0 takes YaRN's positions as they stand in the file
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4, "original_max_position_embeddings": 2048}}, 2048),
        ({"rope_scaling": {"type": "llama3", "factor": 8}}, 2048),
        ({"rope_scaling": {"type": "linear", "factor": 4}}, 8192),
        ({"rope_scaling": {"type": "dynamic", "factor": 2.5}}, 5120),
        ({"rope_parameters": {"full_attention": {"rope_type": "linear", "factor": 2}}}, 4096),
        ({"rope_scaling": "nonsense"}, 2048),
        ({"rope_scaling": {"type": "linear", "factor": None}}, 2048),
        ({"max_position_embeddings": None}, None),
    ],
)
def test_the_context_is_what_the_engine_makes_of_the_positions(more: dict[str, Any], context: int | None) -> None:
    assert config_json.read({**CONFIG, **more}).context == context


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10**6) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
KEYS = sorted(
    {*CONFIG, "rope_scaling", "layer_types", "sliding_window", "quantization_config", "head_dim", "vision_config"}
)


@given(st.dictionaries(st.sampled_from(KEYS), json_values))
def test_no_configuration_makes_it_fail_but_by_saying_so(changed: dict[str, Any]) -> None:
    config = {**CONFIG, **changed}
    with contextlib.suppress(UnreadableConfig):
        build.weights(config_json.read(config), config, None)


# Archives of the model cache

METADATA = {
    "commitHash": COMMIT,
    "libraryName": "transformers",
    "modelDefinition": {"key": "hf@own/model"},
    "tags": ["en", "license:mit"],
    "url": "",
    "version": 0,
}


def pack(tmp_path: Path, form: str, metadata: Any = METADATA, **more: bytes | None) -> Path:
    root = tmp_path / "own_2fmodel"
    write(root / "model", **more)
    (root / "model" / "onnx").mkdir()
    (root / "model" / "onnx" / "model.onnx").write_bytes(b"x" * 100)
    if metadata is not None:
        (root / "model_metadata.json").write_text(json.dumps(metadata))
    if form == "folder":
        return root
    if form == "folder in a folder":
        return tmp_path
    packed = tmp_path / f"packed.{form}"
    if form == "zip":
        with zipfile.ZipFile(packed, "w") as archive:
            for file in sorted(root.rglob("*")):
                archive.write(file, file.relative_to(tmp_path))
    else:
        with tarfile.open(packed, "w:gz" if form.endswith("gz") else "w") as tar:
            tar.add(root, arcname="./own_2fmodel" if form == "tar" else "own_2fmodel")
    return packed


@pytest.mark.parametrize("form", ["folder", "folder in a folder", "zip", "tar", "tar.gz"])
def test_an_archive_of_the_model_cache_is_read_in_any_form(tmp_path: Path, form: str) -> None:
    packed = pack(tmp_path, form, **{"README.md": b"no head"})
    facts = resolve(str(packed))
    assert (facts.id, facts.revision, facts.licence) == ("own/model", COMMIT, "mit")
    assert facts.weights is not None
    assert (facts.weights.total, facts.weights.source) == (BYTES, "safetensors headers")
    assert facts.disk_bytes == sum(map(len, (files() | {"README.md": b"no head"}).values())) + 100
    assert (facts.source, facts.chat_template) == (str(packed), True)


def test_the_revision_behind_the_key_is_taken_where_there_is_no_commit(tmp_path: Path) -> None:
    metadata = {"modelDefinition": {"key": "hf@own/model@v1.0"}, "version": 0}
    facts = resolve(str(pack(tmp_path, "zip", metadata)))
    assert (facts.id, facts.revision, facts.licence) == ("own/model", "v1.0", "apache-2.0")


def test_a_file_that_is_no_archive_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.zip").write_bytes(b"PK nonsense")
    with pytest.raises(UnreadableArchive, match=r"x\.zip cannot be read as a zip or tar"):
        resolve(str(tmp_path / "x.zip"))


def test_an_archive_without_its_metadata_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableArchive, match=r"packed\.zip has no model_metadata\.json beside a model folder$"):
        resolve(str(pack(tmp_path, "zip", None)))


def test_an_archive_cannot_write_outside_of_its_folder(tmp_path: Path) -> None:
    packed = tmp_path / "evil.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("root/model_metadata.json", json.dumps(METADATA))
        archive.writestr("root/model/../../../evil.json", "{}")
        archive.writestr("root/model/config.json", json.dumps(CONFIG))
    assert resolve(str(packed)).id == "own/model"
    assert list(tmp_path.rglob("evil.json")) == []


# Names


def test_a_preset_at_another_revision_says_so() -> None:
    facts = resolve("phi-4", revision=COMMIT)
    assert facts.revision == COMMIT
    assert facts.source.endswith("which is of revision 187ef0342fff0eb3333be9f00389385e95ef0b61")


def test_an_unknown_name_is_refused_with_the_nearest_ones() -> None:
    with pytest.raises(UnknownModel) as raised:
        resolve("Qwen/Qwen3-9B")
    assert str(raised.value) == (
        "'Qwen/Qwen3-9B' is not a preset; allowed: a preset, a folder with a config.json, an archive of one, or "
        "with the hub's help an id on it; fix: use qwen3-8b or qwen3-32b or qwen3-30b-a3b, or ask the hub for it"
    )
    with pytest.raises(UnknownModel, match=r"fix: use one of bge-m3, .*, or write owner/name and ask the hub for it$"):
        resolve("entirely different")


@pytest.mark.parametrize("path", ["./no-such-folder", "/no/such/folder", "~/no-such-folder", "no-such.tar"])
def test_a_path_that_is_not_there_is_not_taken_for_a_name(path: str) -> None:
    with pytest.raises(UnknownModel) as raised:
        resolve(path)
    allowed = "a folder with a config.json, or an archive of one"
    assert str(raised.value) == f"{path!r} is not there; allowed: {allowed}; fix: check the path"


# The hub, on this machine


class Hub(http.server.BaseHTTPRequestHandler):
    """As much of the hub's interface as its client uses for one model; ``state`` says what it holds and answers."""

    state: dict[str, Any]
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        self.state["asked"].append(
            (self.command, self.path, self.headers.get("Authorization"), self.headers.get("Range"))
        )
        refusal = self.state["refuse"](self.path)
        if refusal:
            status, kind = refusal
            self._send(status, b"{}", body, {"X-Error-Code": kind, "X-Error-Message": "no"} if kind else {})
            return
        if self.path.startswith("/api/models/own/model"):
            siblings = [{"rfilename": name, "size": len(content)} for name, content in self.state["files"].items()]
            listing = {"id": "own/model", "sha": COMMIT, "siblings": siblings, **self.state["listing"]}
            self._send(200, json.dumps(listing).encode(), body, {"Content-Type": "application/json"})
            return
        name = self.path.split("?")[0].rpartition("/")[2]
        content = self.state["files"].get(name)
        if content is None:
            self._send(404, b"", body, {"X-Error-Code": "EntryNotFound"})
            return
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range") or "")
        headers = {"ETag": '"0123"', "X-Repo-Commit": COMMIT}
        part = content[int(asked[1]) : int(asked[2]) + 1] if asked else content
        self._send(206 if asked else 200, part, body, headers)

    def _send(self, status: int, content: bytes, body: bool, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


@pytest.fixture
def own_hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[str, Any]]:
    state: dict[str, Any] = {
        "files": files(),
        "listing": {"gated": "manual", "tags": ["license:llama3.1"], "cardData": {"license": "llama3.1"}},
        "refuse": lambda path: None,
        "asked": [],
    }
    handler = type("OwnHub", (Hub,), {"state": state})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    for name in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    state["api"] = lambda token=None: HfApi(endpoint=f"http://127.0.0.1:{server.server_port}", token=token or False)
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


def test_the_hub_gives_the_same_as_a_folder_and_the_full_commit(own_hub: dict[str, Any], tmp_path: Path) -> None:
    facts = hub.from_hub("own/model", "main", "hf_secret", own_hub["api"]("hf_secret"))
    folder = resolve(str(write(tmp_path)))
    assert (facts.id, facts.revision) == ("own/model", COMMIT)
    assert (facts.weights, facts.kv, facts.task, facts.weight_files) == (
        *(folder.weights, folder.kv, folder.task, folder.weight_files),
    )
    assert (facts.licence, facts.gated, facts.disk_bytes) == ("llama3.1", True, sum(map(len, files().values())))
    assert facts.source == f"the hub, own/model at {COMMIT}"


def test_no_weights_are_fetched_from_the_hub(own_hub: dict[str, Any]) -> None:
    hub.from_hub("own/model", api=own_hub["api"]())
    asked = [(verb, part) for verb, path, _, part in own_hub["asked"] if path.split("?")[0].endswith(".safetensors")]
    assert ("GET", "bytes=0-100000") in asked
    assert ("GET", None) not in asked


def test_without_a_token_none_is_sent(own_hub: dict[str, Any]) -> None:
    hub.from_hub("own/model", api=own_hub["api"]())
    assert {token for _, _, token, _ in own_hub["asked"]} == {None}


def test_the_log_in_of_whoever_runs_it_is_not_used(own_hub: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    tokens: list[object] = []

    def client(token: object) -> HfApi:
        tokens.append(token)
        return own_hub["api"]()  # type: ignore[no-any-return]

    monkeypatch.setattr(hub, "HfApi", client)
    hub.from_hub("own/model")
    assert tokens == [False]  # None would mean: the token kept on this machine


def test_weights_the_hub_has_not_as_safetensors_come_by_the_architecture(own_hub: dict[str, Any]) -> None:
    own_hub["files"] = {"config.json": json.dumps(CONFIG).encode(), "pytorch_model.bin": b"x"}
    facts = hub.from_hub("own/model", api=own_hub["api"]())
    assert facts.weights is not None
    assert (facts.weights.source, facts.weight_files, facts.chat_template) == ("architecture", ("bin",), None)


REFUSALS = {
    "gated, no token": (
        *(401, "GatedRepo", None),
        "own/model is gated and was asked for without a token (401); allowed: a token with access; fix: accept "
        "its licence on the model's page and give a token of that account",
    ),
    "gated, token without access": (
        *(403, "GatedRepo", "hf_secret"),
        "own/model is gated and the token has no access to it (403); allowed: an account with access; fix: accept"
        " its licence on the model's page with the account the token is of, and wait until it is granted",
    ),
    "no such model": (
        *(404, "RepoNotFound", "hf_secret"),
        "own/model is not a model on the hub, or one the token may not see; allowed: owner/name of a model; fix: "
        "copy it from the model's page",
    ),
    "no such model, or private": (
        *(401, "RepoNotFound", None),
        "own/model is not a model on the hub, or a private one, for which a token is needed; allowed: owner/name "
        "of a model; fix: copy it from the model's page",
    ),
    "no such revision": (
        *(404, "RevisionNotFound", None),
        "own/model at main is not there: the model has no such revision; allowed: a commit, branch or tag of it; "
        "fix: copy the commit from the model's page, under Files and versions, History",
    ),
    "token may not read": (
        *(403, "", "hf_secret"),
        "own/model at main: the token may not read it (403); allowed: a token that may read models; "
        "fix: widen the token",
    ),
    "broken": (
        *(500, "", None),
        "own/model at main: the hub answered 500; allowed: an answer; fix: try again later",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_the_hub_refuses_is_told_without_the_token(own_hub: dict[str, Any], case: str) -> None:
    status, kind, token, expected = REFUSALS[case]
    own_hub["refuse"] = lambda path: (status, kind)
    with pytest.raises(hub.HubError) as raised:
        hub.from_hub("own/model", "main", token, own_hub["api"](token))
    assert str(raised.value) == expected
    assert "hf_secret" not in str(raised.value)


def test_a_model_whose_listing_is_open_but_whose_files_are_gated_is_told_so(own_hub: dict[str, Any]) -> None:
    own_hub["refuse"] = lambda path: None if path.startswith("/api/") else (401, "GatedRepo")
    with pytest.raises(hub.HubError, match="own/model is gated and was asked for without a token"):
        hub.from_hub("own/model", api=own_hub["api"]())


def test_a_hub_that_cannot_be_reached_is_told_so() -> None:
    with pytest.raises(hub.HubError) as raised:
        hub.from_hub("own/model", api=HfApi(endpoint="http://127.0.0.1:1", token=False))
    assert str(raised.value) == (
        "own/model was not asked for: the hub cannot be reached from here; allowed: a network, or none needed; "
        "fix: use a preset, a folder with the model's config.json, or an archive"
    )


def test_a_model_in_another_format_is_refused(own_hub: dict[str, Any]) -> None:
    own_hub["files"] = {"params.json": b"{}", "consolidated.safetensors": b""}
    with pytest.raises(hub.HubError) as raised:
        hub.from_hub("own/model", api=own_hub["api"]())
    assert str(raised.value) == (
        "own/model has no config.json; allowed: a model in the format of transformers; fix: look for a repackaged"
        " version of it"
    )


def test_the_hub_is_asked_only_when_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str | None, str | None]] = []

    def from_hub(model_id: str, revision: str | None = None, token: str | None = None) -> str:
        asked.append((model_id, revision, token))
        return "facts"

    monkeypatch.setattr(hub, "from_hub", from_hub)
    resolve("phi-4")
    with pytest.raises(UnknownModel):
        resolve("own/model")
    assert asked == []
    resolve("phi-4", ask_hub=True)
    resolve("own/model", ask_hub=True, revision="main", token="hf_secret")
    preset = presets.preset("phi-4")
    assert preset is not None
    assert asked == [("microsoft/phi-4", preset.revision, None), ("own/model", "main", "hf_secret")]


def test_the_door_is_the_same_for_the_program_and_its_tests() -> None:
    assert model_source.facts is build.facts


SPEECH = {
    **CONFIG,
    "architectures": ["Qwen2AudioForConditionalGeneration"],
    "model_type": "qwen2_audio",
    "audio_config": {"d_model": 1280, "encoder_ffn_dim": 5120, "max_source_positions": 1500},
}


@pytest.mark.parametrize(
    ("config", "tokens", "longest"),
    [
        (SPEECH, 750, 1),
        (WHISPER, 1500, 1),
        ({**SPEECH, "model_type": "ultravox"}, 187, 16),
        ({**SPEECH, "model_type": "one_to_come"}, 187, 20),
        ({"model_type": "qwen2_5_omni", "thinker_config": {**SPEECH, "model_type": "qwen2_5_omni_thinker"}}, 750, 1),
        ({**CONFIG, "audio_config": None}, None, None),
        (CONFIG, None, None),
    ],
)
def test_an_encoder_of_speech_is_read_and_one_of_a_family_to_come_counts_as_the_worst(
    tmp_path: Path, config: dict[str, Any], tokens: int | None, longest: int | None
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    audio = model_source.from_path(tmp_path).audio
    assert (audio and (audio.tokens, audio.longest)) == (tokens and (tokens, longest))


def test_the_trial_of_speech_has_as_many_recordings_as_a_step_has_tokens_for(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(SPEECH))
    facts = model_source.from_path(tmp_path)
    assert facts.audio is not None
    one = facts.audio.bytes
    # 1,500 positions of 1,280 numbers in, through 5,120, in 16 bits: 46 MB, and what comes of them
    assert one == 2 * (1500 * (4 * 1280 + 2 * 5120) + 750 * facts.hidden)
    assert [facts.audio.tried_bytes(tokens, 16, 8192) // one for tokens in (64, 2048, 8192)] == [1, 2, 10]
    assert facts.audio.tried_bytes(8192, 2, 512) == 2 * one, "no more than two sequences hold"
    few = Engine(context=8192, sequences=1, max_batched_tokens=8192)
    plain = replace(facts, audio=None)
    assert activation_bytes(facts, few) == 10 * one > activation_bytes(plain, few)
    assert activation_bytes(facts, replace(few, text_only=True)) == activation_bytes(plain, few)
