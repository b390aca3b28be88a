"""The page of ``ebbtide plan`` in a real browser: wide, on a phone, in the dark; opened and clicked.

Needs Chromium, which these tests do not install: without it they are skipped, or, with EBBTIDE_BROWSER_TESTS=1 (a
pipeline that has it), they fail. EBBTIDE_KEEP_PICTURES=1 writes the pictures of docs/plan.md anew.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from infra.planner.plan import plan_stack
from infra.planner.report.document import ResourceCounts, document
from infra.planner.report.html import page
from infra.stackfile.load import finding
from infra.workspace import PROJECT
from tests.program.chromium import Browser, needed
from tests.unit.plan_kit import EIGHT, facts, renamed, stack

WIDTHS = {"phone": 390, "tablet": 820, "desk": 1280}


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with Browser(needed()) as opened:
        yield opened


@pytest.fixture
def file(tmp_path: Path) -> Path:
    small = renamed(facts(num_hidden_layers=80, hidden_size=8192, num_attention_heads=64), id="test/seventy")
    more = {
        "pools.eight-a100": {"machine": "p4d.24xlarge", "max": 1, "min": 0},
        "models.seventy": {
            "id": "test/seventy", "revision": "0" * 40, "pool": "eight-a100", "gpus": 8, "max": 1, "maxTokens": 8192,
            "coldStart": "10m", "idleTtl": "20m",
        },
        "models.far": {
            "id": "test/eight", "revision": "0" * 40, "pool": "one", "max": 1, "maxTokens": 131072,
            "coldStart": "10m", "idleTtl": "20m",
        },
        "guard.maxDollarsPerHour": 30,
    }  # fmt: skip

    config = stack(tmp_path, more)
    planned = plan_stack(config, lambda model: small if model == "test/seventy" else EIGHT)
    findings = [finding(problem, "stacks/Pulumi.test.yaml") for problem in planned.problems]
    graph = ResourceCounts(168, 28, {"aws:eks/nodeGroup:NodeGroup": 3, "kubernetes:apps/v1:Deployment": 3})
    written = tmp_path / "plan.html"
    written.write_text(page(document("test", "stacks/Pulumi.test.yaml", findings, planned, graph)))
    return written


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", WIDTHS.values(), ids=WIDTHS)
def test_the_page_fits_its_window_and_asks_for_nothing(browser: Browser, file: Path, width: int, dark: bool) -> None:
    browser.asked.clear()
    browser.errors.clear()
    browser.open(file, width, dark=dark)
    assert browser.ask("document.documentElement.scrollWidth") <= width
    # with every table unfolded too: a wide one scrolls within itself
    browser.ask("document.querySelectorAll('details').forEach(each => { each.open = true; })")
    assert browser.ask("document.documentElement.scrollWidth") <= width
    assert (
        browser.ask("document.querySelector('#verdict').innerText") == "1 finding: with these nothing may be created."
    )
    assert set(browser.asked) == {file.as_uri()}
    assert browser.errors == []


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_can_be_read_on_its_ground(browser: Browser, file: Path, dark: bool) -> None:
    """A contrast of 4.5 to 1 at least, as WCAG 2 asks of plain text (success criterion 1.4.3)."""
    browser.open(file, 1280, dark=dark)
    poor = browser.ask(
        """(() => {
          const rgb = text => text.match(/[\\d.]+/g).map(Number);
          const linear = v => (v /= 255) <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
          const light = c => { const [r, g, b] = c.map(linear); return .2126 * r + .7152 * g + .0722 * b; };
          const ground = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor);
                                if (c.length < 4 || c[3] > 0) return c.slice(0, 3); } return [255, 255, 255]; };
          const poor = [];
          for (const e of document.querySelectorAll('body *')) {
            if (![...e.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
            const [a, b] = [light(rgb(getComputedStyle(e).color).slice(0, 3)), light(ground(e))].sort((x, y) => y - x);
            if ((a + .05) / (b + .05) < 4.5) poor.push(e.className + ': ' + e.textContent.trim().slice(0, 30));
          }
          return poor;
        })()"""
    )
    assert poor == []


def test_what_is_folded_opens_with_a_click_and_with_the_keyboard(browser: Browser, file: Path) -> None:
    browser.open(file, 1280)
    first = "#tables details"
    assert browser.ask(f"document.querySelector('{first}').open") is False
    browser.click(f"{first} > summary")
    assert browser.ask(f"document.querySelector('{first}').open") is True
    assert browser.ask(f"document.querySelector('{first} table').getBoundingClientRect().height") > 40
    browser.ask(f"document.querySelector('{first} > summary').focus()")
    for kind in ("keyDown", "keyUp"):
        browser.call(
            "Input.dispatchKeyEvent", type=kind, key="Enter", code="Enter", windowsVirtualKeyCode=13, text="\r"
        )
    assert browser.ask(f"document.querySelector('{first}').open") is False


def test_the_parts_of_a_bar_lie_side_by_side_within_it(browser: Browser, file: Path) -> None:
    browser.open(file, 1280)
    bars = browser.ask(
        """[...document.querySelectorAll('#memory .bar')].map(bar => { const whole = bar.getBoundingClientRect();
             return [...bar.querySelectorAll('i')].map(i => { const r = i.getBoundingClientRect();
               return [(r.left - whole.left) / whole.width, (r.right - whole.left) / whole.width]; }); })"""
    )
    assert len(bars) == 3
    for parts in bars:
        for (_, right), (left, _) in itertools.pairwise(parts):
            assert abs(right - left) < 0.01
        assert parts[-1][1] < 1.01
    assert browser.ask("document.querySelectorAll('#memory .bar.short').length") == 1
    # a pod for each model, under its pool
    pods = browser.ask("[...document.querySelectorAll('.pod b')].map(e => e.innerText).sort()")
    assert pods == ["eight", "far", "seventy"]


def test_the_pictures_are_drawn(browser: Browser, file: Path, tmp_path: Path) -> None:
    keep = PROJECT / "docs" if os.environ.get("EBBTIDE_KEEP_PICTURES") else tmp_path
    for name, width, dark in (("plan", 1100, False), ("plan-phone", 390, True)):
        browser.open(file, width, dark=dark)
        (keep / f"{name}.png").write_bytes(browser.picture())
        assert (keep / f"{name}.png").stat().st_size > 20_000
