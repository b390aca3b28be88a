"""What somebody is told whose browser makes no picture."""

from __future__ import annotations

from pathlib import Path

import pytest

from infra.bench import html
from infra.errors import LocalProblem


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("#!/bin/sh\nexec sleep 600\n", "not within 1 s"),
        ("#!/bin/sh\necho no display >&2\nexit 3\n", "no display"),
        ("#!/bin/sh\n", "made no picture"),
        (None, "No such file"),
    ],
    ids=["hangs", "fails", "makes none", "is not there"],
)
def test_a_browser_without_a_picture_is_a_problem_with_a_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, why: str
) -> None:
    browser = tmp_path / "chromium"
    if script is not None:
        browser.write_text(script)
        browser.chmod(0o755)
    monkeypatch.setenv("EBBTIDE_CHROMIUM", str(browser))
    monkeypatch.setattr(html, "_SECONDS", 1)
    with pytest.raises(LocalProblem, match=why) as problem:
        html.picture("<p>", 100, tmp_path / "x.png")
    assert ".html" in str(problem.value)
