"""The model store, by its URI. The pod's own identity, which the client library finds, decides who may write."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping

import obstore
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
from obstore.store import LocalStore, ObjectStore, from_url

from ebbtide_mirror.problem import Passing, Problem

_PART = 16 * 2**20
_MOST_PARTS = 9_000  # the strictest store takes 10,000


class Store:
    """Store of objects with a size and a few words each. Never printed: the library's own text of a store can fail."""

    def __init__(self, objects: ObjectStore) -> None:
        self._objects = objects

    @staticmethod
    def at(uri: str) -> Store:
        """Return the store at ``uri``. Raises ``Problem`` for one that no store has."""
        try:
            return Store(LocalStore.from_url(uri, mkdir=True) if uri.startswith("file:") else from_url(uri))
        except (BaseError, ValueError, OSError) as error:
            message = f"{uri} is not a store: {_first_line(error)}"
            raise Problem(message, "the stack's platform gives the address: check its model store") from None

    def facts(self, name: str) -> tuple[int, dict[str, str]] | None:
        """Return size and words of an object, None if there is none. Where a store keeps no words beside an object (a
        file system) the object is read instead and its sums are computed anew."""
        with _explained_errors():
            try:
                answer = obstore.get(self._objects, name, options={"head": True})
            except FileNotFoundError:
                return None
            words = {str(key): str(value) for key, value in answer.attributes.items()}
            size = answer.meta["size"]
            return size, words if not isinstance(self._objects, LocalStore) else self._sums(name, size)

    def put(self, name: str, contents: Iterator[bytes] | bytes, size: int, words: Mapping[str, str]) -> None:
        """Write all or nothing: until the last byte is there, and if ``contents`` raises, no object of that name
        exists.
        """
        part = max(_PART, -(-size // _MOST_PARTS))
        attributes = dict(words) if not isinstance(self._objects, LocalStore) else None
        with _explained_errors():
            obstore.put(self._objects, name, contents, attributes=attributes, chunk_size=part, max_concurrency=4)

    def get(self, name: str) -> bytes | None:
        """Return a small object's contents, None if there is none."""
        with _explained_errors():
            try:
                return bytes(obstore.get(self._objects, name).bytes())
            except FileNotFoundError:
                return None

    def _sums(self, name: str, size: int) -> dict[str, str]:
        sha256, blob = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False)
        for chunk in obstore.get(self._objects, name):
            sha256.update(chunk)
            blob.update(chunk)
        return {"sha256": sha256.hexdigest(), "gitblob": blob.hexdigest()}


class _explained_errors:  # noqa: N801  reads as a word of the block it heads
    """Context that turns the library's errors into words that say what to do."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (PermissionDeniedError, UnauthenticatedError)):
            # a right granted by the same `up` can take minutes to work: tried again, and reported each time
            fix = "if it goes on, check that the Job's service account carries the identity that may write there"
            raise Passing(f"the store refuses this pod: {_first_line(error)}; {fix}") from None
        if isinstance(error, BaseError):
            raise Passing(f"the store: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)[:300]
