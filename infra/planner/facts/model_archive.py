"""An archive of the model cache: a root folder with ``model/`` (what the repository holds) and ``model_metadata.json``,
as a folder, zip or tar. Format: Dataiku documentation, Running Hugging Face models, Build your own model archive.

Only the small files and the headers of the weight files are unpacked from a packed archive.
"""

from __future__ import annotations

import json
import re
import struct
import tarfile
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from infra.planner.facts.build import MOST_HEADER

METADATA = "model_metadata.json"
_MOST_TEXT = 64 * 2**20
_NEEDED_FILES = ("config.json", "tokenizer_config.json", "model.safetensors.index.json", "README.md")
_ANYTHING = ("modules.json", "config_sentence_transformers.json", "chat_template.jinja", "chat_template.json")


class UnreadableArchive(ValueError):
    """An archive that cannot be read; the text says what it lacks."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """An opened archive. ``model`` is the folder to read; ``disk_bytes`` what all files of the model take unpacked."""

    model: Path
    model_id: str | None
    revision: str | None
    licence: str | None
    disk_bytes: int


def is_archive(path: Path) -> bool:
    """Return True if a folder is laid out as an archive, itself or in exactly one of its folders."""
    return path.is_dir() and not (path / "config.json").exists() and _root(path) is not None


def _root(path: Path) -> Path | None:
    folders = [path, *(each for each in path.iterdir() if each.is_dir())]
    held = [each for each in folders if (each / METADATA).is_file() and (each / "model").is_dir()]
    return held[0] if len(held) == 1 else None


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """Yield the archive, as long as the context lasts. Raises ``UnreadableArchive``."""
    if path.is_dir():
        root = _root(path)
        if root is None:
            raise UnreadableArchive(f"{path} has no model/ beside a {METADATA}")
        size = sum(file.stat().st_size for file in (root / "model").rglob("*") if file.is_file())
        yield _described(root, size)
        return
    with tempfile.TemporaryDirectory(prefix="ebbtide-archive-") as folder:
        root = Path(folder)
        (root / "model").mkdir()
        try:
            size = _unpack_heads(path, root)
        except (tarfile.TarError, zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
            raise UnreadableArchive(f"{path} cannot be read as a zip or tar: {error}") from error
        yield _described(root, size)


def _unpack_heads(path: Path, root: Path) -> int:
    """Write what is needed under ``root``; return the bytes of all the model's files."""
    total, has_metadata = 0, False
    for name, size, stream in _members(path):
        parts = PurePosixPath(name).parts
        if len(parts) <= 2 and parts[-1] == METADATA:
            has_metadata = True
            _write(root / METADATA, stream.read(_MOST_TEXT))
        inside = _inside(parts)
        if inside is None:
            continue
        total += size
        if len(inside) == 1:
            _head(root / "model" / inside[0], stream)
    if not has_metadata:
        raise UnreadableArchive(f"{path} has no {METADATA} beside a model folder")
    return total


def _inside(parts: tuple[str, ...]) -> tuple[str, ...] | None:
    """Return the path below ``model/``, which lies at the root or in one folder; None for files elsewhere. Only files
    directly below it are ever written, so no path leads out."""
    for depth in (0, 1):
        if len(parts) > depth + 1 and parts[depth] == "model":
            return parts[depth + 1 :]
    return None


def _head(file: Path, stream: IO[bytes]) -> None:
    if file.name in _NEEDED_FILES:
        _write(file, stream.read(_MOST_TEXT))
    elif file.suffix == ".safetensors":
        first = stream.read(8)
        length = struct.unpack("<Q", first)[0] if len(first) == 8 else 0
        _write(file, first + (stream.read(length) if length <= MOST_HEADER else b""))
    elif file.suffix in (".bin", ".gguf") or file.name in _ANYTHING:
        _write(file, b"")  # its presence is enough


def _write(file: Path, content: bytes) -> None:
    file.write_bytes(content)


def _members(path: Path) -> Iterator[tuple[str, int, IO[bytes]]]:
    """Yield name, size and content of every file in it, one after the other."""
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            for info in packed.infolist():
                if not info.is_dir():
                    with packed.open(info) as stream:
                        yield info.filename, info.file_size, stream
        return
    with tarfile.open(path, "r|*") as packed_tar:
        for member in packed_tar:
            content = packed_tar.extractfile(member) if member.isfile() else None
            if content is not None:
                yield member.name.removeprefix("./"), member.size, content


def _described(root: Path, size: int) -> Archive:
    try:
        read: Any = json.loads((root / METADATA).read_text())
    except (ValueError, OSError, RecursionError) as error:
        raise UnreadableArchive(f"{METADATA} cannot be read as JSON") from error
    if not isinstance(read, dict):
        raise UnreadableArchive(f"{METADATA} is not a JSON object")
    definition = read.get("modelDefinition")
    key = str(definition.get("key", "")) if isinstance(definition, dict) else ""
    named = re.fullmatch(r"hf@(?P<id>[^@]+)(@(?P<revision>.+))?", key)
    commit = read.get("commitHash") or (named["revision"] if named else None)
    tags = read.get("tags")
    licences = [t.removeprefix("license:") for t in tags or () if isinstance(t, str) and t.startswith("license:")]
    return Archive(
        model=root / "model",
        model_id=named["id"] if named else None,
        revision=str(commit) if commit else None,
        licence=licences[0] if licences else None,
        disk_bytes=size,
    )
