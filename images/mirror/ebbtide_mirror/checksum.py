"""Comparison of the bytes received with the sums the hub publishes, computed while the bytes go by."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class File:
    """One file of a revision. ``sha256`` is set for a file stored with LFS, ``git_blob`` (the id git gives its
    contents) for every other."""

    name: str
    size: int
    sha256: str | None = None
    git_blob: str | None = None


class Sums:
    """Both sums over a file's bytes, in one pass."""

    def __init__(self, size: int) -> None:
        self.count = 0
        self._sha256 = hashlib.sha256()
        # git hashes the contents behind a header. Source: Git documentation, Git Objects, Object Storage
        self._blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)

    def add(self, chunk: bytes) -> None:
        self.count += len(chunk)
        self._sha256.update(chunk)
        self._blob.update(chunk)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def differs(self, file: File) -> str | None:
        """Return what is not as the hub says; None if all is."""
        if self.count != file.size:
            return f"{self.count} bytes came, the hub says {file.size}"
        if file.sha256 is not None and self.sha256 != file.sha256:
            return f"its sha256 is {self.sha256}, the hub says {file.sha256}"
        if file.sha256 is None and file.git_blob is not None and self._blob.hexdigest() != file.git_blob:
            return f"its git blob is {self._blob.hexdigest()}, the hub says {file.git_blob}"
        return None

    def facts(self, file: File) -> dict[str, str]:
        """Return what is kept beside the object. Letters and digits only: one store takes no hyphen in a name."""
        return {"sha256": self.sha256} | ({"gitblob": file.git_blob} if file.git_blob else {})


def same(file: File, size: int, facts: dict[str, str]) -> bool:
    """Return True if an object of ``size`` with these ``facts`` is ``file``."""
    if size != file.size:
        return False
    if file.sha256 is not None:
        return facts.get("sha256") == file.sha256
    return file.git_blob is not None and facts.get("gitblob") == file.git_blob
