"""The page of ``ebbtide bench`` in a real browser, as the plan's is looked at: skipped where there is no Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.bench.client import Reply
from infra.bench.cold import wake_summary
from infra.bench.document import Document, begun, level
from infra.bench.html import page
from infra.bench.options import Level, Options
from infra.bench.statistics import Summary, summary
from tests.program.chromium import Browser, needed

WIDTHS = {"phone": 390, "desk": 1280}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser(needed()) as opened:
        yield opened


def side(slower: float) -> Summary:
    replies = [
        Reply(
            number=number,
            sent=0.0,
            ended=2.0 + slower,
            status=200,
            first=0.1 * number + slower,
            last=1.0 + number + slower,
            tokens=100,
            prompt_tokens=200,
            gaps=(0.01,) * 9,
        )
        for number in range(20)
    ]
    return summary(replies, 30.0)


def result() -> Document:
    """Many levels, both sides, an end too early, and wakes."""
    document = begun(Options())
    at = {"url": "https://a-rather-long-name.example.com:8443/serving", "host_header": None, "engine_version": "0.32.0"}
    document["endpoints"] = {"measured": at | {"model": "llama-8b"}, "against": at | {"model": "llama-8b"}}
    counts = (1, 2, 4, 8, 16, 32, 64, 128, 96, 112, 104, 108)
    document["levels"] = [level(Level(count), side(count / 50), side(count / 60), count != 108) for count in counts]
    document["cold"] = wake_summary(
        [{"first_token": 24.0, "phases": {"woken": 0.5, "image": 1.5, "first token": 22.0}}], True
    )
    return document


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_the_page_fits_its_window_and_asks_for_nothing(
    browser: Browser, tmp_path: Path, width: int, dark: bool
) -> None:
    file = tmp_path / "bench.html"
    file.write_text(page(result()))
    browser.asked.clear()
    browser.errors.clear()
    browser.open(file, width, dark=dark)
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert browser.ask("document.querySelectorAll('#charts section').length") == 4
    drawn = "Math.min(...[...document.querySelectorAll('.chart svg')].map(e => e.getBoundingClientRect().width))"
    assert browser.ask(drawn) > 200
    assert browser.ask("document.querySelector('#verdict').innerText").startswith("incomplete")
    assert set(browser.asked) == {file.as_uri()}
    assert browser.errors == []
