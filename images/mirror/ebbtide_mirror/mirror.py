"""The copy: file by file, each checked before it counts, and a mark at the end that all are there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from typing import Any, Protocol

from ebbtide_mirror.checksum import File, Sums, same
from ebbtide_mirror.choice import INDEX, chosen, indexed
from ebbtide_mirror.problem import Passing
from ebbtide_mirror.settings import Settings
from ebbtide_mirror.store import Store

MARK = "model_metadata.json"
_SMALL = 8 * 2**20
_SAY_EVERY_SECONDS = 15.0

Say = Callable[[str], None]


class Source(Protocol):
    """Source of the files."""

    def files(self) -> list[File]: ...

    def read(self, file: File) -> Iterator[bytes]: ...


def mirror(settings: Settings, source: Source, store: Store, say: Say, clock: Callable[[], float] = time.time) -> None:
    """Copy the model that ``settings`` names into the store. Files there with the right size and sum stay; the mark is
    written last.

    Raises ``Problem`` or ``Passing``; the next run goes on from what is there.
    """
    if _complete(store, settings):
        say(f"{settings.model_id}@{settings.revision[:12]} is there already")
        return
    listed = source.files()
    files, left_out = chosen(listed, settings.allow_pickle, _index(listed, source))
    total = sum(file.size for file in files)
    say(f"{settings!r}: {len(files)} files, {_gigabytes(total)}")
    if left_out:
        say(f"left out, since the engine reads others: {', '.join(file.name for file in left_out)}")
    sums: dict[str, str] = {}
    progress = _Progress(total, say, clock)
    for number, file in enumerate(files, 1):
        there = store.facts(file.name)
        if there is not None and same(file, *there):
            sums |= {file.name: there[1]["sha256"]} if "sha256" in there[1] else {}
            progress.passed(file.size)
            say(f"[{number}/{len(files)}] {file.name}: there already")
            continue
        sums[file.name] = _copy(file, source, store, progress)
        say(f"[{number}/{len(files)}] {file.name}: {_gigabytes(file.size)}, checked")
    mark = json.dumps(metadata(settings, files, sums, clock()), indent=2).encode() + b"\n"
    store.put(MARK, mark, len(mark), {})
    say(f"complete: {settings.target}")


def _index(files: list[File], source: Source) -> frozenset[str]:
    """Return the weights that the model's index names; none where it has no index."""
    index = next((file for file in files if file.name == INDEX), None)
    if index is None:
        return frozenset()
    sums, contents = Sums(index.size), b"".join(source.read(index))
    sums.add(contents)
    if wrong := sums.differs(index):
        raise Passing(f"{index.name}: {wrong}")
    return indexed(contents)


def metadata(settings: Settings, files: list[File], sums: dict[str, str], now: float) -> dict[str, Any]:
    """Return ``model_metadata.json``: the archive format's fields; under ``ebbtide`` every file's size and checksum."""
    sizes = {file.name: file.size for file in files}
    return {
        "commitHash": settings.revision,
        "downloadDate": int(now * 1000),
        "downloadedBy": "ebbtide",
        "libraryName": "transformers",
        "modelDefinition": {"key": f"hf@{settings.model_id}@{settings.revision}"},
        "pipelineName": "text-generation",
        "sizeInBytes": sum(sizes.values()),
        "url": f"https://huggingface.co/{settings.model_id}/tree/{settings.revision}",
        "version": 0,
        "ebbtide": {"source": "Hugging Face hub", "sizes": sizes, "sha256": sums},
    }


def _complete(store: Store, settings: Settings) -> bool:
    """Return True if the mark of this very revision is there, and every file it names at its size."""
    try:
        mark = json.loads(store.get(MARK) or b"null")
        sizes: dict[str, int] = mark["ebbtide"]["sizes"]
        if mark["commitHash"] != settings.revision or not sizes:
            return False
    except (ValueError, TypeError, KeyError):
        return False
    return all((there := store.facts(name)) is not None and there[0] == size for name, size in sizes.items())


def _copy(file: File, source: Source, store: Store, progress: _Progress) -> str:
    sums = Sums(file.size)

    def checked() -> Iterator[bytes]:
        for chunk in source.read(file):
            sums.add(chunk)
            progress.passed(len(chunk), file)
            yield chunk
        # before the last byte is acknowledged: raising here leaves no object behind
        if wrong := sums.differs(file):
            raise Passing(f"{file.name}: {wrong}")

    if file.size <= _SMALL:
        contents = b"".join(checked())
        store.put(file.name, contents, file.size, sums.facts(file))
    else:
        # its words go with the first byte, when only the hub's own sums are known; the bytes are checked against them
        store.put(file.name, checked(), file.size, _promised(file))
    return sums.sha256


def _promised(file: File) -> dict[str, str]:
    return {"sha256": file.sha256} if file.sha256 else {"gitblob": file.git_blob or ""}


class _Progress:
    """Progress report: a line now and then while a large file is copied."""

    def __init__(self, total: int, say: Say, clock: Callable[[], float]) -> None:
        self.total, self.done, self._say, self._clock = total, 0, say, clock
        self._reported = self._began = clock()

    def passed(self, count: int, file: File | None = None) -> None:
        self.done += count
        now = self._clock()
        if file is not None and now - self._reported >= _SAY_EVERY_SECONDS:
            self._reported = now
            rate = self.done / max(now - self._began, 1e-6) / 1e6
            share = 100 * self.done // max(self.total, 1)
            self._say(f"    … {file.name}: {share} % of all, {_gigabytes(self.done)}, {rate:.0f} MB/s")


def _gigabytes(count: int) -> str:
    return f"{count / 1e9:.2f} GB" if count >= 1e7 else f"{count / 1e3:.1f} kB"
