"""``ebbtide bench`` against small endpoints on this machine: what is sent, what is told, what is kept."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.bench import command
from infra.bench.cold import steps, wake_summary
from infra.bench.endpoints import endpoints
from infra.bench.html import page
from infra.bench.options import Level, Options, check
from infra.bench.report_text import text
from infra.errors import LocalProblem, UsageError
from infra.workspace import PROJECT, Paths
from lab.ask import Access
from tests.unit.bench_kit import FIXED, PER_WORD, Engine
from tests.unit.gateway_kit import free_port

KEY = "sk-very-secret"
QUICK = {"input_tokens": 40, "output_tokens": 4, "warm_up": 1}


@pytest.fixture
def engine() -> Iterator[Engine]:
    fake = Engine(first=0.02, per_token=0.005)
    yield fake
    fake.served.stop()


@pytest.fixture
def other() -> Iterator[Engine]:
    fake = Engine(first=0.002, per_token=0.001)
    yield fake
    fake.served.stop()


@pytest.fixture(autouse=True)
def _nothing_local(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EBBTIDE_STATE", str(tmp_path / "state"))
    monkeypatch.setenv("EBBTIDE_CACHE", str(tmp_path / "cache"))


def measured(tmp_path: Path, capsys: pytest.CaptureFixture[str], **more: Any) -> tuple[dict[str, Any], str, str]:
    """The kept document, standard output, standard error."""
    file = tmp_path / "kept" / "result.json"
    assert command.run(Options(**{**QUICK, "out": str(file)} | more)) == 0
    shown = capsys.readouterr()
    return json.loads(file.read_text()), shown.out, shown.err


def test_each_level_has_its_figures_and_the_load_is_the_one_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: Engine
) -> None:
    result, out, err = measured(tmp_path, capsys, url=engine.url + "/v1", concurrency="1,4", requests=12)
    assert result["complete"] is True
    assert [level["concurrency"] for level in result["levels"]] == [1, 4]
    for level in result["levels"]:
        of = level["measured"]
        assert (of["sent"], of["whole"], of["errors"], of["tokens"]) == (12, 12, {}, 48)
        assert of["ttft"]["p50"] >= 0.02
        assert of["tpot"]["p50"] >= 0.005
        assert of["latency"]["p50"] >= of["ttft"]["p50"] + 3 * 0.005
        assert of["ttft"]["count"] == 12
        assert of["gap"]["count"] == 36
        assert of["requests_per_second"] == pytest.approx(12 / of["seconds"], rel=0.01)
        assert of["tokens_per_second"] == pytest.approx(48 / of["seconds"], rel=0.01)
    assert engine.most_at_once == 4
    counted = engine.bodies[2:]  # the first two tell how long a word is
    assert len(counted) == 1 + 12 + 1 + 12, "a warm-up each, and the requests"
    words = {len(body["messages"][0]["content"].split()) for body in counted}
    assert words == {round((40 - FIXED) / PER_WORD)}
    assert len({body["messages"][0]["content"] for body in counted}) == len(counted), "a prompt was asked twice"
    assert {(b["max_tokens"], b["min_tokens"], b["ignore_eos"], b["model"]) for b in counted} == {(4, 4, True, "small")}
    assert result["endpoints"]["measured"]["engine_version"] == "9.9"
    assert result["machine"]["cpus"] == os.cpu_count()
    assert result["versions"]["httpx"]
    assert "4 at once" in out
    assert "turn 2 of 2" in err


def test_the_other_endpoint_takes_turns_and_the_difference_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: Engine, other: Engine
) -> None:
    result, out, err = measured(
        tmp_path, capsys, url=engine.url, against=other.url, against_host_header="small.models", concurrency="2",
        requests=16, against_model="bare",
    )  # fmt: skip
    level = result["levels"][0]
    assert (level["measured"]["sent"], level["against"]["sent"]) == (16, 16)
    assert level["ratio"]["ttft_added_ms"]["p50"] == pytest.approx(
        1000 * (level["measured"]["ttft"]["p50"] - level["against"]["ttft"]["p50"]), abs=0.01
    )
    assert level["measured"]["ttft"]["p50"] >= 0.02
    rates = [level[side]["tokens_per_second"] for side in ("measured", "against")]
    assert level["ratio"]["tokens_share"] == pytest.approx(rates[0] / rates[1], rel=0.01)
    assert other.hosts == {"small.models"}
    assert {body["model"] for body in other.bodies} == {"bare"}
    order = re.findall(r"✓ 2 at once, (\w+), turn (\d)", err)
    assert order == [("measured", "1"), ("against", "1"), ("against", "2"), ("measured", "2")]
    assert re.search(r"^  added .*%", out, re.M)
    mine = {body["messages"][0]["content"] for body in engine.bodies}
    assert not mine & {body["messages"][0]["content"] for body in other.bodies}, (
        "the second one would answer from a cache"
    )
    words = [sorted(sorted(body["messages"][0]["content"].split()) for body in side.bodies) for side in (engine, other)]
    assert words[0] == words[1], "longer words are more tokens: one side would be asked for more work"


def test_an_open_loop_sends_whether_or_not_it_is_answered(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: Engine
) -> None:
    engine.first = 0.5
    result, _, _ = measured(tmp_path, capsys, url=engine.url, rate="40", seconds=1.0, turns=1)
    of = result["levels"][0]["measured"]
    assert result["levels"][0]["rate"] == 40
    assert 20 <= of["sent"] <= 65
    assert engine.most_at_once > 8


def test_errors_are_counted_by_status_and_by_what_broke(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: Engine
) -> None:
    file = tmp_path / "result.json"
    engine.faults = ["", "", "", "503", "cut", "error", "stuck", "503"]
    options = Options(url=engine.url, concurrency="2", requests=20, out=str(file), limit_seconds=3.0, **QUICK)  # type: ignore[arg-type]
    assert command.run(options) == 0
    of = json.loads(file.read_text())["levels"][0]["measured"]
    assert of["errors"] == {"503": 2, "cut off": 1, "error in the stream": 1, "time-out": 1}
    assert (of["sent"], of["whole"]) == (20, 15)
    assert "errors: 503 × 2" in capsys.readouterr().out


def test_an_answer_in_one_piece_has_no_first_token(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: Engine
) -> None:
    result, out, _ = measured(tmp_path, capsys, url=engine.url, concurrency="1", requests=4, stream=False, exact=False)
    of = result["levels"][0]["measured"]
    assert (of["ttft"], of["tpot"], of["tokens"], of["whole"]) == (None, None, 16, 4)
    assert not any("ignore_eos" in body or "stream" in body for body in engine.bodies)
    assert "in one piece" in out


def test_the_yardstick_finds_where_the_queue_begins_to_refuse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = Engine(first=0.2, slots=4, queue=2)
    try:
        result, out, _ = measured(tmp_path, capsys, url=engine.url, yardstick=True, most=64, requests=14)
    finally:
        engine.served.stop()
    assert result["yardstick"]["concurrency"] == 6
    assert [each["concurrency"] for each in result["yardstick"]["tries"]] == [1, 2, 4, 8, 6, 7]
    assert "6 at once" in out


def test_the_key_comes_from_the_environment_and_is_nowhere_to_be_seen(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine.key = KEY
    monkeypatch.setenv("MY_KEY", KEY)
    file = tmp_path / "page.html"
    result, out, err = measured(
        tmp_path, capsys, url=engine.url, key_env="MY_KEY", concurrency="1", requests=2, plot=str(file)
    )
    assert result["levels"][0]["measured"]["whole"] == 2
    assert KEY not in json.dumps(result) + out + err + file.read_text() + repr(
        endpoints(Options(url="http://x", key_env="MY_KEY"), Paths(tmp_path, tmp_path))
    )


def test_the_local_key_goes_to_the_local_stack_alone(tmp_path: Path) -> None:
    at = Paths(tmp_path / "cache", tmp_path / "state")
    at.state.mkdir()
    Access("http://127.0.0.1:4000", KEY, ("small", "big")).save(at)
    local, elsewhere = endpoints(Options(against="http://engine:8000"), at, {})
    assert (local.url, local.model, local.key) == ("http://127.0.0.1:4000", "small", KEY)
    assert elsewhere is not None
    assert (elsewhere.model, elsewhere.key) == ("small", None)
    named, _ = endpoints(Options(url="http://elsewhere/v1"), at, {})
    assert (named.url, named.key) == ("http://elsewhere", None)
    with pytest.raises(LocalProblem, match="no MY_KEY"):
        endpoints(Options(url="http://elsewhere", key_env="MY_KEY"), at, {})


def test_who_does_not_answer_is_told_with_a_fix(engine: Engine) -> None:
    engine.key = KEY
    with pytest.raises(LocalProblem, match=r"(?s)401.*--key-env"):
        command.run(Options(url=engine.url))
    engine.models = ("a", "b")
    with pytest.raises(LocalProblem, match=r"(?s)2 models: a, b.*--model"):
        command.run(Options(url=engine.url))
    with pytest.raises(LocalProblem, match=r"(?s)no connection.*something listens"):
        command.run(Options(url=f"http://127.0.0.1:{free_port()}", model="a"))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (Options(concurrency="1,x"), "--concurrency x: allowed"),
        (Options(concurrency="0"), "--concurrency 0: allowed"),
        (Options(rate="-1"), "--rate -1: allowed"),
        (Options(rate="nan"), "--rate nan: allowed"),
        (Options(requests=5, seconds=5), "fix: leave one out"),
        (Options(requests=0), "--requests 0: allowed: 1 or more"),
        (Options(url="ftp://x"), "--url ftp://x: allowed"),
        (Options(url="https://user:pass@host"), "--key-env"),
        (Options(against_model="x"), "--against"),
        (Options(yardstick=True, stream=False), "--no-stream"),
        (Options(url="http://x", cold=3), "--idle"),
        (Options(plot="x.pdf"), "--plot x.pdf: allowed"),
        (Options(from_file="/nonexistent"), "--from /nonexistent"),
    ],
)
def test_what_cannot_be_is_refused_before_a_request(
    options: Options, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.run(options) == 2
    told_of = capsys.readouterr().err
    assert words in told_of
    assert "pass@" not in told_of


def test_without_a_wish_for_levels_three_are_measured_and_else_only_those_named() -> None:
    assert Options().levels() == (Level(1), Level(8), Level(32))
    assert Options(rate="2").levels() == (Level(rate=2.0),)
    assert Options(rate="2", concurrency="4,4").levels() == (Level(4), Level(rate=2.0))
    assert Options(yardstick=True).levels() == Options(cold=2).levels() == ()
    check(Options())
    with pytest.raises(UsageError):
        check(Options(most=0))


@pytest.mark.slow
def test_ctrl_c_ends_it_cleanly_and_keeps_what_was_measured(tmp_path: Path, engine: Engine) -> None:
    engine.per_token = 0.05
    file = tmp_path / "result.json"
    process = subprocess.Popen(
        [
            sys.executable, "-m", "infra.cli", "bench", "--url", engine.url, "--concurrency", "2,64",
            "--requests", "40", "--warm-up", "0",
            "--output-tokens", "4", "--turns", "1", "--out", str(file), "--format", "json",
        ],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=PROJECT,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while len(engine.bodies) < 12 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "marked as incomplete" in err
    kept = json.loads(file.read_text())
    assert kept == json.loads(out)
    assert kept["complete"] is False
    assert [level["complete"] for level in kept["levels"]] == [False]
    assert 4 <= kept["levels"][0]["measured"]["whole"] < 40
    assert "INCOMPLETE" in text(kept)


def test_a_kept_result_is_shown_again_without_a_request(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: Engine
) -> None:
    _, out, _ = measured(tmp_path, capsys, url=engine.url, concurrency="1", requests=2)
    count = len(engine.bodies)
    assert command.run(Options(from_file=str(tmp_path / "kept" / "result.json"))) == 0
    assert capsys.readouterr().out == out
    assert len(engine.bodies) == count


def test_the_page_stands_alone_and_lets_no_text_become_markup(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: Engine, other: Engine
) -> None:
    result, _, _ = measured(
        tmp_path, capsys, url=engine.url, against=other.url, model="<b>m", concurrency="1,2", requests=4
    )
    result["cold"] = wake_summary(
        [{"first_token": 24.0, "phases": steps({"woken": 0.5, "image": 2.0, "first token": 24.0})}], True
    )
    html = page(result)
    assert "&lt;b&gt;m" in html
    assert "<b>m" not in html
    assert not re.search(r"(?:src|href)=|url\(|@import|<script", html)
    assert html.count("<polyline") == 3 * 6 + 2
    assert html.count("stroke-dasharray") == 1
    assert "prefers-color-scheme: dark" in html
    assert 'id="cold"' in html
    result["levels"], result["cold"] = [], None
    assert "<polyline" not in page(result)


def test_phases_of_a_wake_become_how_long_each_took() -> None:
    passed = {"woken": 0.5, "scheduled": 0.5, "image": 2.0, "weights": 20.0, "first token": 24.0}
    assert steps(passed) == {"woken": 0.5, "scheduled": 0.0, "image": 1.5, "weights": 18.0, "first token": 4.0}
    whole = wake_summary([{"first_token": 24.0, "phases": steps(passed)}, {"first_token": 26.0, "phases": {}}], False)
    assert (whole["first_token"]["p50"], whole["phases"]["image"]["count"], whole["complete"]) == (25.0, 1, False)


def test_a_cold_path_elsewhere_waits_and_takes_the_first_token(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], engine: Engine
) -> None:
    result, out, _ = measured(tmp_path, capsys, url=engine.url, model="small", cold=2, idle=0.05)
    assert len(result["cold"]["rounds"]) == 2
    assert result["cold"]["first_token"]["p50"] >= 0.02
    assert (result["levels"], len(engine.bodies)) == ([], 2), "anything else would have woken it"
    assert "Cold path, 2 wakes" in out
