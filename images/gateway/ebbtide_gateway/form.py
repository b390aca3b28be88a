"""Forms with one file, as audio is sent: fields are checked as those of a JSON body are, and the file lies on disk
until an engine has it, for as long as its model takes to wake. So neither its size nor the place of ``model`` behind it
costs memory.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import json
import os
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from typing import IO, Any, TypeVar

from aiohttp import BodyPartReader, MultipartReader, StreamReader
from aiohttp.http_exceptions import HttpProcessingError

from .errors import ApiError

MOST_FILE_BYTES = 25 * 1024 * 1024
"""vLLM's own limit (VLLM_MAX_AUDIO_CLIP_FILESIZE_MB), which is OpenAI's."""

MOST_FIELD_BYTES = 64 * 1024
_MOST_FIELDS = 64

_PIECE_BYTES = 256 * 1024
_FIELD = re.compile(r"[A-Za-z0-9_.-]{1,64}(\[\])?")
_KIND = re.compile(r"[a-z0-9.+-]{1,64}/[a-z0-9.+-]{1,64}")
_NOT_IN_A_NAME = re.compile(r"[^A-Za-z0-9._-]")
T = TypeVar("T")
Within = Callable[[Awaitable[T]], Awaitable[T]]


@dataclass(frozen=True, kw_only=True)
class Form:
    """One form. ``file`` is read by position, so that it can be sent again; ``digest`` recognizes its content."""

    fields: tuple[tuple[str, str], ...]
    file: IO[bytes]
    file_name: str
    file_kind: str
    size: int
    digest: str
    boundary: str

    def document(self) -> dict[str, Any]:
        """Return what the form says, as a JSON body would: numbers and objects are such, the file is its digest."""
        return {"file": self.digest} | {name: _value(text) for name, text in self.fields}

    def for_model(self, name: str) -> Form:
        """Return the form with the model's own name in it."""
        others = tuple(field for field in self.fields if field[0] != "model")
        return replace(self, fields=(("model", name), *others))

    def headers(self) -> dict[str, str]:
        """Return the headers of the body."""
        length = len(self._before) + self.size + len(self._after)
        return {"content-type": f"multipart/form-data; boundary={self.boundary}", "content-length": str(length)}

    async def pieces(self) -> AsyncIterator[bytes]:
        """Yield the body, written anew from what was read."""
        yield self._before
        for offset in range(0, self.size, _PIECE_BYTES):
            amount = min(_PIECE_BYTES, self.size - offset)
            yield await asyncio.to_thread(os.pread, self.file.fileno(), amount, offset)
        yield self._after

    @functools.cached_property
    def _before(self) -> bytes:
        head = f'--{self.boundary}\r\ncontent-disposition: form-data; name="'
        fields = [f'{head}{name}"\r\n\r\n{text}\r\n' for name, text in self.fields]
        file = f'{head}file"; filename="{self.file_name}"\r\ncontent-type: {self.file_kind}\r\n\r\n'
        return "".join((*fields, file)).encode()

    @property
    def _after(self) -> bytes:
        return f"\r\n--{self.boundary}--\r\n".encode()


def _value(text: str) -> Any:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return text
    return value if isinstance(value, int | float | dict) and not isinstance(value, bool) else text


async def read_form(
    headers: Mapping[str, str],
    content: StreamReader,
    within: Within[Any],
    file: IO[bytes],
    resize: Callable[[int], None],
    most: int = MOST_FILE_BYTES,
) -> Form:
    """Return a form, with its file of at most ``most`` bytes written into ``file``. ``within`` bounds the wait for each
    piece, ``resize`` is told how many bytes lie on disk. Raises ``ApiError`` 400 for what is no such form, 413 for one
    that is too large.
    """
    try:
        return await _read(MultipartReader(headers, content), within, file, resize, most)
    except (ValueError, AssertionError, RuntimeError, LookupError, HttpProcessingError) as problem:
        raise _invalid(f"the body is no multipart/form-data ({type(problem).__name__})") from None


def form_bytes(most: int) -> int:
    """Return the most bytes of a whole form: beside the file and the fields the lines between them."""
    return most + 4 * MOST_FIELD_BYTES


async def _read(
    reader: MultipartReader, within: Within[Any], file: IO[bytes], resize: Callable[[int], None], most: int
) -> Form:
    fields: dict[str, list[str]] = {}
    left, upload = MOST_FIELD_BYTES, None
    while (part := await within(reader.next())) is not None:
        name = part.name if isinstance(part, BodyPartReader) else None
        if not isinstance(part, BodyPartReader) or name is None or not _FIELD.fullmatch(name):
            raise _invalid("each part needs a name of letters, digits, '_', '.' or '-'")
        if "content-transfer-encoding" in part.headers:
            raise _invalid("a part has a content-transfer-encoding; send it as it is")
        if name == "file":
            if upload is not None:
                raise _invalid("the form has more than one file")
            upload = await _save(part, within, file, resize, most)
            continue
        text = await _text(part, within, left)
        left -= len(text)
        values = fields.setdefault(name, [])
        values.append(text.decode())
        if len(values) > 1 and not name.endswith("[]"):
            raise _invalid(f"the form has more than one {name!r}")
        if sum(map(len, fields.values())) > _MOST_FIELDS:
            raise _invalid(f"the form has more than {_MOST_FIELDS} fields")
    if upload is None:
        raise ApiError(400, "missing_parameter", "the form needs 'file'", param="file")
    pairs = tuple((name, text) for name, values in fields.items() for text in values)
    file_name, kind, size, digest = upload
    return Form(
        fields=pairs,
        file=file,
        file_name=file_name,
        file_kind=kind,
        size=size,
        digest=digest,
        boundary=secrets.token_hex(16),
    )


async def _text(part: BodyPartReader, within: Within[Any], most: int) -> bytes:
    text = bytearray()
    while not part.at_eof():
        text += await within(part.read_chunk())
        if len(text) > most:
            raise ApiError(413, "body_too_large", f"a form's fields may have at most {MOST_FIELD_BYTES} bytes together")
    return bytes(text)


async def _save(
    part: BodyPartReader, within: Within[Any], file: IO[bytes], resize: Callable[[int], None], most: int
) -> tuple[str, str, int, str]:
    """Write a part to the file; returns its name, its kind, its size and its digest."""
    digest, size, waiting = hashlib.blake2b(digest_size=16), 0, bytearray()
    while not part.at_eof():
        piece = await within(part.read_chunk(_PIECE_BYTES))
        digest.update(piece)
        size += len(piece)
        if size > most:
            raise file_too_large(most)
        waiting += piece
        if len(waiting) >= _PIECE_BYTES or part.at_eof():
            resize(size)
            await asyncio.to_thread(file.write, bytes(waiting))
            waiting.clear()
    await asyncio.to_thread(file.flush)
    name = _NOT_IN_A_NAME.sub("_", part.filename or "")[-100:] or "file"
    kind = part.headers.get("content-type", "")
    return name, kind if _KIND.fullmatch(kind) else "application/octet-stream", size, digest.hexdigest()


def file_too_large(most: int) -> ApiError:
    """Return the 413 for a file that nobody takes."""
    return ApiError(413, "body_too_large", f"the file may have at most {most} bytes", param="file")


def _invalid(message: str) -> ApiError:
    return ApiError(400, "invalid_form", message)
