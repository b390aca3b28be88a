"""The arithmetic of a benchmark, against figures worked out by hand."""

from __future__ import annotations

import itertools
import json
import math

import pytest

from infra.bench.client import Reply, Stream
from infra.bench.html import ticks
from infra.bench.load import poisson
from infra.bench.side import LONG, SHORT, prompt, scale
from infra.bench.statistics import percentile, ratio, spread, summary
from infra.bench.yardstick import judge, search


def reply(number: int = 0, **more: float | str | int | None) -> Reply:
    at = {"sent": 10.0, "first": 10.5, "last": 12.5, "ended": 12.6, "tokens": 5, "prompt_tokens": 20, "status": 200}
    return Reply(number=number, **(at | more))  # type: ignore[arg-type]


def test_a_percentile_lies_in_a_straight_line_between_the_nearest_ranks() -> None:
    values = [1.0, 2.0, 3.0, 4.0]
    assert [percentile(values, p) for p in (0, 50, 90, 99, 100)] == pytest.approx([1.0, 2.5, 3.7, 3.97, 4.0])
    assert percentile([7.0], 99) == 7.0
    with pytest.raises(ValueError, match="nothing"):
        percentile([], 50)


def test_a_spread_sorts_leaves_out_what_is_not_there_and_counts_what_is() -> None:
    numbers = spread([3.0, None, 1.0, 2.0])
    assert numbers is not None
    assert (numbers.count, numbers.mean, numbers.p50, numbers.most) == (3, 2.0, 2.0, 3.0)
    assert spread([None]) is None


def test_seconds_a_token_leave_the_first_one_out() -> None:
    assert reply().per_token == 0.5
    assert reply(tokens=1).per_token is None
    assert reply(first=None, last=None).per_token is None


def test_a_late_client_does_not_make_the_server_look_quicker() -> None:
    waited = reply(sent=9.0, late=1.0)
    assert waited.to_first == 1.5
    assert summary([waited], 1.0).latest_send == 1.0


def test_only_whole_answers_count_for_times_and_rates_and_errors_are_counted_by_kind() -> None:
    lost = reply(first=None, last=None, tokens=None, fault="503", status=503)
    result = summary([reply(0), reply(1), lost, reply(3, first=99.0, fault="cut off")], 4.0)
    assert (result.sent, result.whole, result.errors) == (4, 2, {"503": 1, "cut off": 1})
    assert result.ttft is not None
    assert (result.ttft.count, result.ttft.most) == (2, 0.5)
    assert (result.tokens, result.tokens_per_second, result.requests_per_second) == (10, 2.5, 0.5)


def test_nothing_measured_is_no_division_by_zero() -> None:
    result = summary([], 0.0)
    assert (result.ttft, result.tokens_per_second) == (None, 0.0)
    assert ratio(result, result).tokens_share is None


def test_the_ratio_is_added_milliseconds_and_shares() -> None:
    through = summary([reply(first=10.52, ended=12.7)], 2.0)
    direct = summary([reply(first=10.5, ended=12.6)], 1.6)
    shares = ratio(through, direct)
    assert shares.ttft_added_ms is not None
    assert shares.latency_added_ms is not None
    assert shares.ttft_added_ms["p50"] == pytest.approx(20)
    assert shares.latency_added_ms["p99"] == pytest.approx(100)
    assert shares.tokens_share == pytest.approx(0.8)


def test_arrivals_are_the_same_for_a_seed_and_come_at_the_rate() -> None:
    times = poisson(5.0, "a", 4000, None)
    assert times == poisson(5.0, "a", 4000, None)
    assert times != poisson(5.0, "b", 4000, None)
    assert times == sorted(times)
    assert 4000 / times[-1] == pytest.approx(5.0, rel=0.05)
    gaps = [after - before for before, after in itertools.pairwise(times)]
    mean = sum(gaps) / len(gaps)
    spread_of_gaps = math.sqrt(sum((gap - mean) ** 2 for gap in gaps) / len(gaps))
    assert spread_of_gaps == pytest.approx(mean, rel=0.1), "even gaps are no Poisson arrivals"
    assert all(at < 3 for at in poisson(5.0, "a", None, 3.0))


def test_a_prompt_of_so_many_tokens_is_scaled_by_what_the_server_counted() -> None:
    known = scale(10 + 2 * SHORT, 10 + 2 * LONG)
    assert (known.fixed, known.per_word, known.words(210)) == (10, 2, 100)
    assert scale(None, None).words(210) == 210
    assert known.words(3) == 1
    assert prompt(5, "a").split()[:3] != prompt(5, "b").split()[:3]
    assert prompt(5, "a") == prompt(5, "a")


def test_two_orders_of_a_prompt_have_the_same_words_and_no_common_beginning() -> None:
    one, other = (prompt(200, "a", side).split() for side in ("measured", "against"))
    assert sorted(one) == sorted(other)
    assert one[:3] != other[:3]


def events(*items: object) -> bytes:
    return b"".join(
        b"data: " + (each if isinstance(each, bytes) else json.dumps(each).encode()) + b"\n\n" for each in items
    )


def piece(text: str, finish: str | None = None) -> dict[str, object]:
    return {"id": "x", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish}]}


def test_a_stream_cut_into_single_bytes_is_read_as_if_it_came_whole() -> None:
    data = events(
        piece(""), piece("ü"), piece("b", "stop"), {"choices": [], "usage": {"completion_tokens": 2}}, b"[DONE]"
    )
    heard = Stream()
    for at, byte in enumerate(data):
        heard.feed(bytes([byte]), float(at))
    assert (heard.pieces, heard.tokens, heard.closed, heard.finishes, heard.fault) == (2, 2, 1, 1, None)
    assert list(heard.ids) == ["x"]
    assert heard.first is not None
    assert heard.last is not None
    assert heard.gaps == [heard.last - heard.first]


def test_the_line_that_only_names_the_role_is_no_first_token() -> None:
    heard = Stream()
    heard.feed(events(piece("")), 1.0)
    heard.feed(events(piece("a")), 2.0)
    assert heard.first == 2.0


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (events(piece("a"), piece("", "stop"), b"[DONE]"), None),
        (events(piece("a"), piece("", "stop")), "cut off"),
        (events(piece("a"), b"[DONE]"), "cut off"),
        (events(piece("a"), {"error": {"message": "died"}}, b"[DONE]"), "error in the stream"),
        (events(b"{nonsense"), "error in the stream"),
        (b"", "cut off"),
    ],
)
def test_a_stream_is_whole_only_with_a_reason_to_finish_and_its_closing_line(data: bytes, fault: str | None) -> None:
    heard = Stream()
    heard.feed(data, 1.0)
    assert heard.fault == fault


@pytest.mark.parametrize("limit", [0, 1, 2, 3, 7, 8, 30, 31, 100, 511, 512, 9999])
def test_the_yardstick_finds_the_limit_within_five_per_cent_without_trying_twice(limit: int) -> None:
    tried: list[int] = []
    trying = search(512)
    try:
        at = next(trying)
        while True:
            tried.append(at)
            at = trying.send(at <= limit)
    except StopIteration as end:
        limit_measured = end.value
    assert len(set(tried)) == len(tried) <= 18
    assert max(tried) <= 512
    assert limit_measured <= min(limit, 512)
    assert limit_measured >= min(limit, 512) * 0.95 - 1
    if limit <= 20:
        assert limit_measured == limit


def test_served_well_means_everybody_answered_and_both_limits_kept() -> None:
    good = summary([reply(first=10.5, last=10.9)] * 10, 1.0)
    assert judge(10, good).good
    assert not judge(10, summary([*[reply(first=10.5, last=10.9)] * 10, reply(fault="503")], 1.0)).good
    slow_first = summary([reply(first=20.0, last=20.4, ended=21.0)] * 10, 1.0)
    assert judge(10, slow_first).why == ("p90 of the first token 10.00 s, not under 10 s",)
    slow_token = summary([reply(first=10.5, last=11.5)] * 10, 1.0)
    assert judge(10, slow_token).why == ("p90 a token 0.250 s, not under 0.25 s",)
    assert not judge(1, summary([], 1.0)).good


@pytest.mark.parametrize("top", [0.0, 0.003, 1.0, 9.99, 10.0, 10.01, 437.0, 123456.0])
def test_the_marks_of_an_axis_are_few_even_and_reach_the_top(top: float) -> None:
    marks = ticks(top)
    assert marks[0] == 0
    assert marks[-1] >= top
    assert 2 <= len(marks) <= 7
    steps = [after - before for before, after in itertools.pairwise(marks)]
    assert steps == pytest.approx([steps[0]] * len(steps))
