"""Batches as OpenAI's clients use them: ``/v1/files`` and ``/v1/batches``, each group's own."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import AsyncIterator, Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Literal
from zoneinfo import ZoneInfo

from ebbtide_accounts.connection import PROBLEMS
from ebbtide_batch import files, jobs
from ebbtide_batch.files import File
from ebbtide_batch.jobs import Job
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from .accounts import Accounts, away
from .admin import parsed
from .batch_turns import Forecast
from .errors import ApiError
from .form import Form
from .keys import Caller

FILES, BATCHES = "/v1/files", "/v1/batches"
_FILE = re.compile(rf"{FILES}/(file-[0-9a-f]{{32}})(/content)?")
_BATCH = re.compile(rf"{BATCHES}/(batch_[0-9a-f]{{32}})(/cancel)?")
_LONGEST = timedelta(days=7)
_PIECE_BYTES = 1024 * 1024
_MOST_LISTED = 10_000
Document = dict[str, Any]


class _Body(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


def _zone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (LookupError, ValueError, OSError):
        raise ValueError("is no time zone; allowed: like Europe/Berlin") from None
    return name


_Clock = Annotated[str, Field(pattern=r"^([01]\d|2[0-3]):[0-5]\d$")]


class OffPeak(_Body):
    """Hours of each day in which models may be woken for a batch, over midnight if ``to`` is not later."""

    start: _Clock = Field(alias="from")
    to: _Clock
    timezone: Annotated[str, AfterValidator(_zone)] = "UTC"


class Own(_Body):
    """What a batch may say here beside OpenAI's own. ``deadline`` wins over ``completion_window``."""

    deadline: AwareDatetime | None = None
    off_peak: OffPeak | None = None


class NewBatch(_Body):
    """A batch to be made. ``completion_window``: hours or minutes, ``24h`` for OpenAI's own."""

    input_file_id: Annotated[str, Field(max_length=64)]
    endpoint: Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]
    completion_window: Annotated[str, Field(pattern=r"^[1-9]\d{0,3}[hm]$")] = "24h"
    metadata: Annotated[dict[str, Annotated[str, Field(max_length=512)]], Field(max_length=16)] | None = None
    ebbtide: Own = Own()


class BatchApi:
    """Answers about files and batches; all of them need the database. ``forecast``: when a batch's models are woken for
    it at the latest, and what that costs.
    """

    FILES, MOST_BYTES = FILES, files.MOST_BYTES

    @staticmethod
    def methods_for(path: str) -> tuple[str, ...] | None:
        """Return the methods that a path takes; None if it is none of these."""
        if path in (FILES, BATCHES):
            return ("GET", "POST", "OPTIONS")
        if (file := _FILE.fullmatch(path)) is not None:
            return ("GET", "OPTIONS") if file[2] else ("GET", "DELETE", "OPTIONS")
        if (batch := _BATCH.fullmatch(path)) is not None:
            return ("POST", "OPTIONS") if batch[2] else ("GET", "OPTIONS")
        return None

    def __init__(self, accounts: Accounts, forecast: Callable[[str], Forecast | None]) -> None:
        self._accounts = accounts
        self._forecast = forecast

    async def upload(self, form: Form, caller: Caller) -> Document:
        """Keep a file. Raises ``ApiError`` 400 for one of another purpose."""
        if dict(form.fields).get("purpose") != "batch":
            raise ApiError(400, "invalid_parameter", "purpose: allowed here is 'batch'", param="purpose")
        try:
            file = await files.create(
                self._accounts.connections(), caller.group, form.file_name, "batch", _pieces(form)
            )
        except PROBLEMS:
            raise away() from None
        return shown_file(file)

    async def content(self, path: str, caller: Caller) -> tuple[File, AsyncIterator[bytes]]:
        """Return a file, and its content in pieces. Raises ``ApiError`` 404."""
        match = _FILE.fullmatch(path)
        assert match is not None
        try:
            file = await self._file(match[1], caller)
        except PROBLEMS:
            raise away() from None
        return file, files.content(self._accounts.connections(), file.id)

    async def answer(self, method: str, path: str, query: Mapping[str, str], body: bytes, caller: Caller) -> Document:
        """Return the answer to everything but an upload and a content. Raises ``ApiError``."""
        try:
            if path == FILES:
                return await self._files(query, caller)
            if path == BATCHES:
                return await (self._create(body, caller) if method == "POST" else self._batches(query, caller))
            if (match := _FILE.fullmatch(path)) is not None:
                return await (self._delete(match[1], caller) if method == "DELETE" else self._shown(match[1], caller))
            match = _BATCH.fullmatch(path)
            assert match is not None
            if match[2]:
                await self._job(match[1], caller)
                await jobs.cancel(self._accounts.connections(), match[1], caller.group)
            return self._described(await self._job(match[1], caller))
        except PROBLEMS:
            raise away() from None

    async def _files(self, query: Mapping[str, str], caller: Caller) -> Document:
        most, newest_first = _limit(query, _MOST_LISTED), query.get("order", "desc") != "asc"
        listed = await files.every(
            self._accounts.connections(),
            caller.group,
            query.get("purpose"),
            query.get("after"),
            most + 1,
            newest_first=newest_first,
        )
        return _page([shown_file(each) for each in listed], most)

    async def _batches(self, query: Mapping[str, str], caller: Caller) -> Document:
        most = _limit(query, 20)
        listed = await jobs.every(self._accounts.connections(), caller.group, query.get("after"), most + 1)
        return _page([self._described(each) for each in listed], most)

    async def _shown(self, file_id: str, caller: Caller) -> Document:
        return shown_file(await self._file(file_id, caller))

    async def _delete(self, file_id: str, caller: Caller) -> Document:
        if not await files.delete(self._accounts.connections(), file_id, caller.group):
            raise _no_file(file_id)
        return {"id": file_id, "object": "file", "deleted": True}

    async def _file(self, file_id: str, caller: Caller) -> File:
        file = await files.find(self._accounts.connections(), file_id, caller.group)
        if file is None:
            raise _no_file(file_id)
        return file

    async def _create(self, body: bytes, caller: Caller) -> Document:
        asked = parsed(NewBatch, body)
        now = datetime.now(UTC)
        deadline = asked.ebbtide.deadline or now + window(asked.completion_window)
        if not now < deadline <= now + _LONGEST:
            message = f"the deadline is in the past, or later than in {_LONGEST.days} days"
            param = "ebbtide.deadline" if asked.ebbtide.deadline else "completion_window"
            raise ApiError(400, "invalid_parameter", message, param=param)
        file = await self._file(asked.input_file_id, caller)
        if file.purpose != "batch":
            raise ApiError(400, "invalid_parameter", "the file is no input of a batch", param="input_file_id")
        off_peak = asked.ebbtide.off_peak
        job = await jobs.create(
            self._accounts.connections(),
            group=caller.group,
            key_id=caller.id,
            key_name=caller.name,
            endpoint=asked.endpoint,
            input_file=file.id,
            completion_window=asked.completion_window,
            deadline=deadline,
            metadata=asked.metadata,
            off_peak=None if off_peak is None else off_peak.model_dump(by_alias=True),
        )
        return self._described(job)

    async def _job(self, job_id: str, caller: Caller) -> Job:
        job = await jobs.find(self._accounts.connections(), job_id, caller.group)
        if job is None:
            raise ApiError(404, "batch_not_found", f"your key's group has no batch {job_id!r}")
        return job

    def _described(self, job: Job) -> Document:
        return shown_batch(job, self._forecast(job.id) if job.ended_at is None else None)


def window(text: str) -> timedelta:
    """Return the time that ``24h`` or ``90m`` says."""
    return timedelta(hours=int(text[:-1])) if text.endswith("h") else timedelta(minutes=int(text[:-1]))


async def _pieces(form: Form) -> AsyncIterator[bytes]:
    for offset in range(0, form.size, _PIECE_BYTES):
        amount = min(_PIECE_BYTES, form.size - offset)
        yield await asyncio.to_thread(os.pread, form.file.fileno(), amount, offset)


def _no_file(file_id: str) -> ApiError:
    return ApiError(404, "file_not_found", f"your key's group has no file {file_id[:64]!r}")


def _limit(query: Mapping[str, str], default: int) -> int:
    text = query.get("limit", str(default))
    if not text.isdigit() or not 1 <= int(text) <= _MOST_LISTED:
        raise ApiError(400, "invalid_parameter", f"limit: allowed are 1 to {_MOST_LISTED}", param="limit")
    return int(text)


def _page(listed: list[Document], most: int) -> Document:
    """Return a page of a list, of which one more was asked for than it shows."""
    shown = listed[:most]
    ends = (shown[0]["id"], shown[-1]["id"]) if shown else (None, None)
    return {"object": "list", "data": shown, "first_id": ends[0], "last_id": ends[1], "has_more": len(listed) > most}


def shown_file(file: File) -> Document:
    """Return a file as OpenAI's clients read it."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": _seconds(file.made_at),
        "expires_at": _seconds(file.expires_at),
        "filename": file.name,
        "purpose": file.purpose,
        "status": "processed",
    }


def shown_batch(job: Job, forecast: Forecast | None) -> Document:
    """Return a batch as OpenAI's clients read it; ``ebbtide`` is this project's own part of it."""
    at = {status: _seconds(job.ended_at) for status in ("completed", "failed", "expired", "cancelled")}
    return {
        "id": job.id,
        "object": "batch",
        "endpoint": job.endpoint,
        "errors": {"object": "list", "data": job.errors} if job.errors else None,
        "input_file_id": job.input_file,
        "completion_window": job.completion_window,
        "status": job.status,
        "output_file_id": job.output_file,
        "error_file_id": job.error_file,
        "created_at": _seconds(job.made_at),
        "in_progress_at": _seconds(job.begun_at),
        "expires_at": _seconds(job.deadline),
        "finalizing_at": None,
        **{f"{status}_at": moment if job.status == status else None for status, moment in at.items()},
        "cancelling_at": _seconds(job.cancelling_at),
        "request_counts": {"total": job.total, "completed": job.completed, "failed": job.failed},
        "metadata": job.metadata,
        "ebbtide": {"off_peak": job.off_peak, **(forecast.document() if forecast is not None else {})},
    }


def _seconds(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.timestamp())
