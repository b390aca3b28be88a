"""Input of a batch: every line that is wrong is named, with what is wrong and what is allowed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit import gateway_kit as kit  # noqa: F401  puts the image's packages on the path

from ebbtide_batch.input_lines import MOST_LINE_BYTES, LineTooLong, Reader, lines_of  # isort: skip

CHAT = "/v1/chat/completions"


def line(**changes: Any) -> bytes:
    body = {"model": "small", "messages": []}
    document = {"custom_id": "a", "method": "POST", "url": CHAT, "body": body} | changes
    return json.dumps({key: value for key, value in document.items() if value is not None}).encode()


def findings(*texts: bytes) -> list[tuple[int | None, str, str | None]]:
    reader = Reader(CHAT, {"small": "small", "tiny": "small"}, ["secret"])
    for text in texts:
        reader.read(text)
    return [(each.line, each.code, each.param) for each in reader.findings]


def test_a_good_line_is_read_with_the_model_that_serves_it() -> None:
    reader = Reader(CHAT, {"tiny": "small"}, [])
    body = {"model": "tiny", "messages": [], "n": 1}
    assert reader.read(line(body=body)) == (1, "a", "small", json.dumps(body, separators=(",", ":")).encode())
    assert reader.findings == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"{", [("invalid_json_line", None)]),
        (b"[" * 100_000, [("invalid_json_line", None)]),
        (b"[]", [("invalid_json_line", None)]),
        (line(custom_id=None), [("missing_required_parameter", "custom_id")]),
        (line(custom_id="x" * 513), [("missing_required_parameter", "custom_id")]),
        (line(method="GET"), [("invalid_method", "method")]),
        (line(url="/v1/embeddings"), [("mismatched_endpoint", "url")]),
        (line(body="no"), [("missing_required_parameter", "body")]),
        (line(body={}), [("missing_required_parameter", "body.model")]),
        (line(body={"model": "none"}), [("model_not_found", "body.model")]),
        (line(body={"model": "secret"}), [("model_not_allowed", "body.model")]),
        (line(body={"model": "small", "stream": True}), [("invalid_request", "body.stream")]),
        (
            line(method="GET", url="/", body={"model": "none"}),
            [("invalid_method", "method"), ("mismatched_endpoint", "url"), ("model_not_found", "body.model")],
        ),
    ],
)
def test_all_that_is_wrong_with_a_line_is_said(text: bytes, found: list[tuple[str, str | None]]) -> None:
    assert findings(text) == [(1, code, param) for code, param in found]


def test_an_id_that_is_there_twice_is_named_with_the_first() -> None:
    reader = Reader(CHAT, {"small": "small"}, [])
    for text in (line(), line(custom_id="b"), line()):
        reader.read(text)
    ((number, message),) = [(each.line, each.message) for each in reader.findings]
    assert (number, message) == (3, "line 1 has the same")


async def pieces(*texts: bytes) -> AsyncIterator[bytes]:
    for text in texts:
        yield text


def split(*texts: bytes) -> list[bytes]:
    async def gather() -> list[bytes]:
        return [each async for each in lines_of(pieces(*texts))]

    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(gather())
    finally:
        loop.close()


@given(st.lists(st.binary(max_size=9)), st.lists(st.integers(0, 60), max_size=8))
def test_lines_are_the_same_however_the_file_was_cut(texts: list[bytes], cuts: list[int]) -> None:
    whole = b"\n".join(texts)
    ends = sorted({0, *(cut for cut in cuts if cut < len(whole)), len(whole)})
    parts = [whole[start:end] for start, end in pairwise(ends)]
    assert split(*parts) == [each for each in whole.split(b"\n") if each.strip()]


def test_a_line_that_is_no_request_any_more_is_refused_before_it_is_all_there() -> None:
    with pytest.raises(LineTooLong):
        split(*[b"x" * 1024 * 1024] * (MOST_LINE_BYTES // 1024 // 1024 + 2))
