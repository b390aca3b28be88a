"""Whether what came is what the hub has: the sums it publishes, taken while the bytes go by."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True)
class File:
    """One file of a revision. ``sha256`` is there for what is stored with LFS, ``git_blob`` (the id git gives its
    contents) for every other."""

    name: str
    size: int
    sha256: str | None = None
    git_blob: str | None = None


class Sums:
    """Both sums over a file's bytes, in one go."""

    def __init__(self, size: int) -> None:
        self.count = 0
        self._sha256 = hashlib.sha256()
        # what git hashes is the contents behind a header. Source: Git documentation, Git Objects, Object Storage
        self._blob = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)

    def add(self, chunk: bytes) -> None:
        self.count += len(chunk)
        self._sha256.update(chunk)
        self._blob.update(chunk)

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def differs(self, file: File) -> str | None:
        """What is not as the hub says; None where all is."""
        if self.count != file.size:
            return f"{self.count} bytes came, the hub says {file.size}"
        if file.sha256 is not None and self.sha256 != file.sha256:
            return f"its sha256 is {self.sha256}, the hub says {file.sha256}"
        if file.sha256 is None and file.git_blob is not None and self._blob.hexdigest() != file.git_blob:
            return f"its git blob is {self._blob.hexdigest()}, the hub says {file.git_blob}"
        return None

    def facts(self, file: File) -> dict[str, str]:
        """What is kept beside the object. Letters and digits only: one of the stores takes no hyphen in a name."""
        return {"sha256": self.sha256} | ({"gitblob": file.git_blob} if file.git_blob else {})


def same(file: File, size: int, facts: dict[str, str]) -> bool:
    """Whether an object of ``size`` with these ``facts`` is ``file``."""
    if size != file.size:
        return False
    if file.sha256 is not None:
        return facts.get("sha256") == file.sha256
    return file.git_blob is not None and facts.get("gitblob") == file.git_blob
