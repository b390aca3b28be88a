"""The Hugging Face hub: a revision's files and their bytes. ``HF_ENDPOINT`` names another hub of the same kind."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx2
from huggingface_hub import HfApi, get_session, hf_hub_url
from huggingface_hub.errors import (
    DisabledRepoError,
    GatedRepoError,
    HfHubHTTPError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils import build_hf_headers, hf_raise_for_status  # type: ignore[attr-defined]  # lazily there

from ebbtide_mirror.checksum import File
from ebbtide_mirror.problem import Passing, Problem

_TRIES = 6
_MAY_PASS = (408, 425, 429, 500, 502, 503, 504)


class Hub:
    """One model at one revision. ``pause`` is called with seconds before another try."""

    def __init__(
        self, model_id: str, revision: str, token: str | None, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self.model_id, self.revision = model_id, revision
        self._token = token
        self._headers = build_hf_headers(token=token or False, library_name="ebbtide")
        self._pause = pause

    def files(self) -> list[File]:
        """Return every file with its size and sum. Raises ``Problem`` or ``Passing``."""
        try:
            info = HfApi(token=self._token or False).model_info(
                self.model_id, revision=self.revision, files_metadata=True
            )
        except (HfHubHTTPError, httpx2.HTTPError) as error:
            raise self._explained(error) from None
        if info.sha != self.revision:
            message = f"the hub calls this revision {info.sha}, asked was {self.revision}"
            raise Problem(message, "copy the commit from the model's page")
        return [self._file(each) for each in info.siblings or []]

    def _file(self, listed: object) -> File:
        name, size = getattr(listed, "rfilename"), getattr(listed, "size")  # noqa: B009  the library's class changes
        lfs, blob = getattr(listed, "lfs", None), getattr(listed, "blob_id", None)
        if size is None or (lfs is None and blob is None):
            raise Passing(f"{name}: the hub tells neither size nor sum of it now")
        return File(name, size, lfs.sha256 if lfs is not None else None, blob if lfs is None else None)

    def read(self, file: File) -> Iterator[bytes]:
        """Yield the file's bytes; resumes a broken connection where it broke. Raises ``Problem`` or ``Passing``."""
        at, tries = 0, 0
        while at < file.size:
            try:
                for chunk in self._from(file, at):
                    at, tries = at + len(chunk), 0
                    yield chunk
                if at < file.size:
                    raise Passing(f"{file.name}: the connection ended at byte {at} of {file.size}")
            except (Passing, httpx2.HTTPError) as error:
                tries += 1
                if tries >= _TRIES:
                    raise Passing(f"{file.name}: {error or type(error).__name__}, {tries} times in a row") from None
                self._pause(min(2.0**tries, 60))

    def _from(self, file: File, at: int) -> Iterator[bytes]:
        url = hf_hub_url(self.model_id, file.name, revision=self.revision)
        range_header = {"Range": f"bytes={at}-"} if at else {}
        # without compression: another encoding would transfer other bytes than the sum covers
        headers = {**self._headers, **range_header, "Accept-Encoding": "identity"}
        timeout = httpx2.Timeout(30.0, read=120.0)
        with get_session().stream("GET", url, headers=headers, follow_redirects=True, timeout=timeout) as answer:
            if answer.status_code in _MAY_PASS:
                raise Passing(f"{file.name}: the hub answers {answer.status_code}")
            try:
                hf_raise_for_status(answer)
            except HfHubHTTPError as error:
                raise self._explained(error) from None
            if at and answer.status_code != 206:
                raise Problem(f"{file.name}: the hub does not go on at byte {at}", "start the Job again")
            # as they come: bytes gathered into larger pieces are lost when the connection breaks
            yield from answer.iter_bytes()

    def _explained(self, error: Exception) -> Exception:
        """Return the library's error in words that say what to do. Its own may carry addresses with signatures."""
        what = f"{self.model_id}@{self.revision[:12]}"
        response = getattr(error, "response", None)
        status = getattr(response, "status_code", None)
        if isinstance(error, GatedRepoError):
            if self._token is None:
                fix = "accept its licence on the model's page and name a Secret with a token of that account"
                return Problem(f"{what} is gated and no token was given", fix)
            fix = "accept its licence on the model's page with the account whose token this is, or wait for its grant"
            return Problem(f"{what} is gated and this token's account has no access", fix)
        if isinstance(error, RevisionNotFoundError):
            return Problem(f"{what}: the model has no such revision (404)", "copy the commit from the model's page")
        if isinstance(error, DisabledRepoError):
            return Problem(f"{what} was disabled on the hub", "choose another model")
        if isinstance(error, RepositoryNotFoundError) or status in (401, 403):
            if status == 404:
                return Problem(f"{what}: there is no such model (404)", "check the id on the hub")
            if self._token is None:
                fix = "check the id; for a private model name a Secret with a token that may read it"
                return Problem(f"{what}: there is no such public model ({status})", fix)
            fix = "check that the token in the named Secret is valid and may read this model"
            return Problem(f"{what}: the hub refuses this token ({status})", fix)
        if status == 404:
            return Problem(f"{what}: the hub does not have it (404)", "check the id and the revision")
        return Passing(f"{what}: the hub answers {status}" if status else f"{what}: {type(error).__name__}")
