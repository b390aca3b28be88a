"""Counting tokens beside an answer, and keeping usage until it is written: no process, no database."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.unit import gateway_kit  # puts the image's package on the path

from ebbtide_gateway.access_log import Record  # isort: skip
from ebbtide_gateway.budgets import Group  # isort: skip
from ebbtide_gateway.keys import Caller  # isort: skip
from ebbtide_gateway.request import parse  # isort: skip
from ebbtide_gateway.settings import Model  # isort: skip
from ebbtide_gateway.usage import Use, UsageLog  # isort: skip

assert gateway_kit

CALLER = Caller("demo", Group("everyone", frozenset(["*"])), "k1")
COUNTS = {"prompt_tokens": 7, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 4}}
SAID = {"choices": [{"delta": {"content": 'he said "usage": {"prompt_tokens": 99}'}}]}


def event(document: Any, name: str = "") -> bytes:
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(document, separators=(',', ':'))}\n\n".encode()


STREAM = event(SAID) + event({"choices": [], "usage": COUNTS}) + b"data: [DONE]\n\n"


@pytest.mark.parametrize("hides", [True, False])
def test_however_a_stream_is_cut_its_tokens_are_counted_and_only_the_unasked_event_is_missing(hides: bool) -> None:
    expected = STREAM.replace(event({"choices": [], "usage": COUNTS}), b"") if hides else STREAM
    for cut in range(1, len(STREAM)):
        use = Use(CALLER, "small", hides)
        passed = b"".join(map(use.passed, (STREAM[:cut], STREAM[cut:])))
        assert (passed, use.tokens) == (expected, (7, 2, 4)), cut


def test_what_an_engine_sends_event_by_event_is_passed_as_it_is() -> None:
    use, piece = Use(CALLER, "small", True), event(SAID)
    assert use.passed(piece) is piece


@pytest.mark.parametrize(
    ("pieces", "tokens"),
    [
        ([event({"response": {"usage": {"input_tokens": 5, "output_tokens": 3}}}, "response.completed")], (5, 3, None)),
        (
            [
                event({"message": {"usage": {"input_tokens": 5, "output_tokens": 0}}}, "message_start"),
                event({"usage": {"output_tokens": 9}}, "message_delta"),
            ],
            (5, 9, None),
        ),
        ([event({"choices": [], "usage": None})], (None, None, None)),
        ([b'data: {"usage": broken\n\n'], (None, None, None)),
    ],
)
def test_each_apis_counts_are_read(pieces: list[bytes], tokens: tuple[int | None, ...]) -> None:
    use = Use(CALLER, "small", False)
    assert b"".join(map(use.passed, pieces)) == b"".join(pieces)
    assert use.tokens == tokens


def test_a_streams_counts_are_asked_for_unless_its_client_did() -> None:
    models = {"small": Model(name="small", host="small", gpus=1, holdSeconds=5)}

    def parsed(path: str = "/v1/chat/completions", counted: bool = True, **more: Any) -> tuple[Any, bool]:
        body = json.dumps({"model": "small", "messages": [{"role": "user", "content": "hi"}], **more}).encode()
        generation = parse(path, body, models, CALLER, counted=counted)
        return json.loads(generation.body).get("stream_options"), generation.hides_usage

    asked = {"include_usage": True}
    assert parsed(stream=True) == (asked, True)
    assert parsed(stream=True, stream_options=asked) == (asked, False)
    assert parsed(stream=True, counted=False) == (None, False)
    assert parsed() == (None, False)


def log(most: int = 3) -> tuple[UsageLog, list[None]]:
    dropped: list[None] = []
    return UsageLog(lambda: dropped.append(None), most), dropped


def test_usage_waits_in_memory_up_to_a_bound_and_what_is_above_it_is_counted() -> None:
    kept, dropped = log()
    for _ in range(5):
        kept.end(Use(CALLER, "small", False), Record("POST", "/", status=200))
    rows, going = kept.batch(2, datetime.now(UTC))
    assert (len(kept), len(dropped), len(rows), going) == (3, 2, 2, [])
    assert kept.batch(2, datetime.now(UTC))[0] == rows, "what was not confirmed comes again, as the same rows"
    kept.written(rows, going)
    assert len(kept) == 1


def test_a_long_request_is_written_as_one_that_goes_on_once_and_then_as_it_ended() -> None:
    kept, _ = log()
    use, record = Use(CALLER, "small", False), Record("POST", "/", status=200)
    kept.begin(use, record)
    assert kept.batch(5, use.at) == ([], []), "a short one is written once"
    rows, going = kept.batch(5, use.at + timedelta(seconds=1))
    assert [(row.id, row.status) for row in rows] == [(use.id, None)]
    kept.end(use, record)
    kept.written(rows, going)
    (row,) = kept.batch(5, datetime.now(UTC))[0]
    assert (row.id, row.status) == (use.id, 200)


def test_until_when_a_request_went_on_does_not_follow_a_clock_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("time.monotonic", lambda: now)
    use, record = Use(CALLER, "an-adapter", False, "small"), Record("POST", "/", status=200)
    now = 107.0
    assert use.row(record, ended=False).ended_at is None
    row = use.row(record, ended=True)
    assert (row.ended_at, row.model, row.served_by) == (use.at + timedelta(seconds=7), "an-adapter", "small")
