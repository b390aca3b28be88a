"""What the mirror brings into a store, what it leaves, and what it says when it cannot."""

from __future__ import annotations

import hashlib
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import obstore
import pytest
from obstore.exceptions import PermissionDeniedError
from obstore.store import LocalStore, MemoryStore

from tests.unit.mirror_kit import MODEL, PROJECT, REVISION, TOKEN, FakeHub, served

from ebbtide_mirror.checksum import File  # isort: skip
from ebbtide_mirror.choice import chosen  # isort: skip
from ebbtide_mirror.hub import Hub  # isort: skip
from ebbtide_mirror.mirror import MARK, mirror  # isort: skip
from ebbtide_mirror.problem import Passing, Problem  # isort: skip
from ebbtide_mirror.settings import Settings, settings  # isort: skip
from ebbtide_mirror.store import Store, _explained_errors  # isort: skip

WEIGHTS = random.Random(1).randbytes(20 * 2**20)
CONFIG = b'{"architectures": ["LlamaForCausalLM"]}\n'
FILES = {
    "config.json": CONFIG,
    "model-00001-of-00001.safetensors": WEIGHTS,
    "tokenizer/tokenizer.json": b"{}",
    "empty.txt": b"",
    "README.md": b"# tiny\n",
}
LFS = frozenset({"model-00001-of-00001.safetensors"})
WANTED = Settings(MODEL, REVISION, "memory:///")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    with served(FakeHub(dict(FILES), LFS)) as hub:
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", hub.url)
        files = hub.url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", files)
        yield hub


def copy(into: MemoryStore | LocalStore, settings: Settings = WANTED) -> list[str]:
    lines: list[str] = []
    hub = Hub(settings.model_id, settings.revision, settings.token, lambda seconds: None)
    mirror(settings, hub, Store(into), lines.append)
    return lines


def names(store: MemoryStore | LocalStore) -> set[str]:
    return {str(meta["path"]) for page in obstore.list(store) for meta in page}


def test_every_file_of_the_revision_arrives_as_it_is(fake: FakeHub) -> None:
    store = MemoryStore()
    copy(store)
    assert names(store) == {*FILES, MARK}
    for name, contents in FILES.items():
        assert bytes(obstore.get(store, name).bytes()) == contents, name


def test_the_mark_tells_the_revision_and_every_sum(fake: FakeHub) -> None:
    store = MemoryStore()
    copy(store)
    mark = json.loads(bytes(obstore.get(store, MARK).bytes()))
    assert mark["commitHash"] == REVISION
    assert mark["modelDefinition"] == {"key": f"hf@{MODEL}@{REVISION}"}
    assert mark["ebbtide"]["sizes"] == {name: len(contents) for name, contents in FILES.items()}
    assert mark["ebbtide"]["sha256"] == {n: hashlib.sha256(c).hexdigest() for n, c in FILES.items()}


def test_a_complete_copy_asks_the_hub_for_nothing(fake: FakeHub) -> None:
    store = MemoryStore()
    copy(store)
    fake.asked.clear()
    assert copy(store) == [f"{MODEL}@{REVISION[:12]} is there already"]
    assert not fake.asked


@pytest.mark.parametrize("kind", [MemoryStore, LocalStore])
def test_a_copy_that_was_interrupted_goes_on_and_copies_nothing_twice(
    fake: FakeHub, kind: type, tmp_path: Path
) -> None:
    store = kind() if kind is MemoryStore else LocalStore(tmp_path)
    copy(store)
    obstore.delete(store, [MARK, "README.md"])
    fake.asked.clear()
    lines = copy(store)
    assert {asked.split()[0] for asked in fake.asked} == {"README.md"}
    assert sum("there already" in line for line in lines) == len(FILES) - 1
    assert MARK in names(store)


def test_an_object_with_other_contents_of_the_same_size_is_copied_anew(fake: FakeHub) -> None:
    store = MemoryStore()
    copy(store)
    obstore.delete(store, [MARK])
    obstore.put(store, "config.json", b"x" * len(CONFIG), attributes={"sha256": "0" * 64, "gitblob": "0" * 40})
    copy(store)
    assert bytes(obstore.get(store, "config.json").bytes()) == CONFIG


def test_a_mark_whose_files_are_gone_counts_for_nothing(fake: FakeHub) -> None:
    store = MemoryStore()
    copy(store)
    obstore.delete(store, ["config.json"])
    copy(store)
    assert bytes(obstore.get(store, "config.json").bytes()) == CONFIG


@pytest.mark.parametrize("name", ["model-00001-of-00001.safetensors", "config.json"])
def test_bytes_that_do_not_fit_their_sum_leave_no_object_and_no_mark(fake: FakeHub, name: str) -> None:
    fake.wrong.add(name)
    store = MemoryStore()
    with pytest.raises(Passing, match=f"{name}: its (sha256|git blob) is .* the hub says"):
        copy(store)
    assert name not in names(store)
    assert MARK not in names(store)


def test_a_broken_connection_goes_on_where_it_broke(fake: FakeHub) -> None:
    fake.cut_after = 6 * 2**20
    store = MemoryStore()
    copy(store)
    assert fake.reads("model-00001-of-00001.safetensors") == 4
    assert any(asked.endswith("bytes=6291456-") for asked in fake.asked)
    assert bytes(obstore.get(store, "model-00001-of-00001.safetensors").bytes()) == WEIGHTS


def test_a_busy_hub_is_asked_again_and_not_for_ever(fake: FakeHub) -> None:
    fake.busy = 3
    copy(MemoryStore())
    fake.busy = 10**6
    with pytest.raises(Passing, match="the hub answers 503, 6 times in a row"):
        copy(MemoryStore())


def test_pickles_alone_are_refused_unless_told(fake: FakeHub) -> None:
    fake.files = {"config.json": CONFIG, "pytorch_model.bin": b"pickle"}
    with pytest.raises(Problem, match="its weights as pickles only"):
        copy(MemoryStore())
    store = MemoryStore()
    copy(store, Settings(MODEL, REVISION, "memory:///", allow_pickle=True))
    assert names(store) == {"config.json", "pytorch_model.bin", MARK}


def test_the_same_weights_in_other_formats_stay_where_they_are(fake: FakeHub) -> None:
    others = dict.fromkeys(("pytorch_model.bin", "original/consolidated.00.pth", "tiny.Q4_K_M.gguf", "a.onnx"), b"1")
    fake.files = {**FILES, **others}
    store = MemoryStore()
    lines = copy(store)
    assert names(store) == {*FILES, MARK}
    assert any("left out" in line and "tiny.Q4_K_M.gguf" in line for line in lines)


def test_weights_that_a_publisher_gives_twice_come_once() -> None:
    def named(*names: str) -> tuple[list[str], list[str]]:
        copied, left = chosen([File(name, 1) for name in names], allow_pickle=False)
        return [file.name for file in copied], [file.name for file in left]

    index, shard = "model.safetensors.index.json", "model-00001-of-00001.safetensors"
    mistral = named(index, shard, "consolidated.safetensors", "tekken.json")
    assert mistral == ([shard, index, "tekken.json"], ["consolidated.safetensors"])
    openai = named(shard, "original/model.safetensors", "original/dtypes.json", "metal/model.bin")
    assert openai == ([shard], ["metal/model.bin", "original/dtypes.json", "original/model.safetensors"])
    # the only weights there are, and those of a part that the engine loads from its folder
    assert named("consolidated.safetensors", "params.json")[1] == []
    assert named(shard, "2_Dense/model.safetensors")[1] == []


def test_what_the_index_does_not_name_stays_where_it_is(fake: FakeHub) -> None:
    shards = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    index = json.dumps({"weight_map": {f"layer.{n}": name for n, name in enumerate(shards)}}).encode()
    besides = ("draft.safetensors", "consolidated-00001.safetensors", "original/model.safetensors")
    modules = ("2_Dense/model.safetensors", "config.json")
    fake.files = dict.fromkeys((*shards, *besides, *modules), b"1") | {"model.safetensors.index.json": index}
    store = MemoryStore()
    lines = copy(store)
    assert names(store) == {*shards, *modules, "model.safetensors.index.json", MARK}
    assert any(line.startswith("left out") and "draft.safetensors" in line for line in lines)


@pytest.mark.parametrize("index", [b"", b"[]", b'{"weight_map": {"a": "not-there.safetensors"}}', b'{"weight_map": 1}'])
def test_an_index_that_names_no_files_of_the_revision_takes_none_away(fake: FakeHub, index: bytes) -> None:
    fake.files = {"tiny.safetensors": b"1", "config.json": b"{}", "model.safetensors.index.json": index}
    store = MemoryStore()
    copy(store)
    assert names(store) == {*fake.files, MARK}


def test_a_revision_without_weights_is_refused(fake: FakeHub) -> None:
    fake.files = {"config.json": CONFIG, "tiny.gguf": b"1"}
    with pytest.raises(Problem, match="no weights in safetensors"):
        copy(MemoryStore())


def test_a_gated_model_says_what_is_missing(fake: FakeHub) -> None:
    fake.gated = True
    with pytest.raises(Problem, match=r"is gated and no token was given; fix: accept its licence .* name a Secret"):
        copy(MemoryStore())
    with pytest.raises(Problem, match=r"is gated and this token's account has no access") as refused:
        copy(MemoryStore(), Settings(MODEL, REVISION, "memory:///", token=TOKEN))
    assert TOKEN not in str(refused.value)


def test_a_model_or_revision_that_is_not_there_says_so(fake: FakeHub) -> None:
    with pytest.raises(Problem, match=r"acme/none@0123456789ab: there is no such model \(404\)"):
        copy(MemoryStore(), Settings("acme/none", REVISION, "memory:///"))
    with pytest.raises(Problem, match=r"the model has no such revision \(404\)"):
        copy(MemoryStore(), Settings(MODEL, "f" * 40, "memory:///"))
    fake.private = True
    with pytest.raises(Problem, match=r"there is no such public model \(401\); fix: .* name a Secret"):
        copy(MemoryStore())
    with pytest.raises(Problem, match=r"refuses this token \(401\)"):
        copy(MemoryStore(), Settings(MODEL, REVISION, "memory:///", token="hf_other"))


def test_a_private_model_comes_with_its_token(fake: FakeHub) -> None:
    fake.private = True
    copy(store := MemoryStore(), Settings(MODEL, REVISION, "memory:///", token=TOKEN))
    assert MARK in names(store)
    assert fake.tokens == {f"Bearer {TOKEN}"}


def test_a_token_of_this_machine_is_never_used(fake: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    copy(MemoryStore())
    assert fake.tokens == {""}


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"EBBTIDE_REVISION": "main"}, "allowed are the 40 hexadecimal digits"),
        ({"EBBTIDE_MODEL_ID": "tiny"}, "allowed is owner/name"),
        ({"EBBTIDE_TARGET": ""}, "EBBTIDE_TARGET is not set"),
    ],
)
def test_an_environment_that_cannot_be_right_is_refused(changed: dict[str, str], message: str) -> None:
    good = {"EBBTIDE_MODEL_ID": MODEL, "EBBTIDE_REVISION": REVISION, "EBBTIDE_TARGET": "memory:///"}
    assert settings(good).target == "memory:///"
    with pytest.raises(Problem, match=message):
        settings({**good, **changed})


def test_settings_never_print_their_token() -> None:
    assert TOKEN not in repr(Settings(MODEL, REVISION, "memory:///", token=TOKEN))


def test_a_target_that_no_store_has_is_refused() -> None:
    with pytest.raises(Problem, match="is not a store"):
        Store.at("ftp://somewhere/x")


@pytest.mark.parametrize(
    "uri", ["s3://bucket/acme--tiny/rev", "gs://bucket/acme--tiny/rev", "az://models/acme--tiny/rev"]
)
def test_the_stores_of_the_clouds_are_known_by_their_address(uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "account")
    assert isinstance(Store.at(uri), Store)


def run(hub: FakeHub, target: Path, **more: str) -> subprocess.CompletedProcess[str]:
    settings = {"EBBTIDE_MODEL_ID": MODEL, "EBBTIDE_REVISION": REVISION, "EBBTIDE_TARGET": target.as_uri()}
    environ = {
        **os.environ,
        "PYTHONPATH": str(PROJECT / "images" / "mirror"),
        "HF_ENDPOINT": hub.url,
        **settings,
        **more,
    }
    command = [sys.executable, "-m", "ebbtide_mirror"]
    return subprocess.run(command, env=environ, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.slow
def test_the_program_ends_with_0_when_done_and_2_when_no_further_try_can_help(fake: FakeHub, tmp_path: Path) -> None:
    done = run(fake, tmp_path / "store")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "store" / "model-00001-of-00001.safetensors").read_bytes() == WEIGHTS
    refused = run(fake, tmp_path / "other", EBBTIDE_REVISION="f" * 40, HF_TOKEN=TOKEN)
    assert refused.returncode == 2
    assert refused.stdout.startswith("error: acme/tiny@ffffffffffff: the model has no such revision")
    assert "Traceback" not in refused.stderr
    assert TOKEN not in refused.stdout + refused.stderr


def test_a_right_that_does_not_work_yet_is_waited_for() -> None:
    """Rights that the same `up` gave take minutes on every cloud: a first refusal must not be the last try."""
    with pytest.raises(Passing, match="refuses this pod"), _explained_errors():
        raise PermissionDeniedError("403 Forbidden")
