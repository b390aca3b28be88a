"""One plan in four formats: nothing of it lost, nothing of a value obeyed."""

from __future__ import annotations

import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from infra.commands.plan_graph import counted
from infra.planner.diff import changes
from infra.planner.report import text as report_text
from infra.planner.report.document import document
from infra.planner.report.html import page
from infra.planner.report.tables import count, gib, markdown, parameters, span, usd
from infra.stackfile.load import finding
from tests.unit.plan_kit import EIGHT, facts, plan, renamed

TOO_LONG = {"maxTokens": 131072}


def document_of(folder: Path, known: Any = EIGHT, **more: Any) -> dict[str, Any]:
    planned = plan(folder, known, **more)
    findings = [finding(problem, "stacks/Pulumi.test.yaml") for problem in planned.problems]
    resources = [
        {"type": "ebbtide:gateway:Gateway", "custom": False},
        {"type": "aws:eks/cluster:Cluster", "custom": True},
    ]
    return document("test", "stacks/Pulumi.test.yaml", findings, planned, counted(resources))


def drawn(read: dict[str, Any], width: int, **more: Any) -> str:
    into = io.StringIO()
    report_text.show(read, Console(file=into, width=width, highlight=False, **more))
    return into.getvalue()


def test_the_data_hold_what_the_command_promises(tmp_path: Path) -> None:
    read = json.loads(json.dumps(document_of(tmp_path, **TOO_LONG), allow_nan=False))
    assert {"findings", "models", "pools", "cost", "cold_path", "timeouts"} <= set(read)
    assert set(read["findings"][0]) >= {"code", "severity", "path", "value", "allowed", "message", "fix"}
    assert read["verdict"] == "errors"
    assert read["models"][0]["memory"]["fits"] is False
    assert read["graph"] == {
        "resources": 2, "components": 1, "by_type": {"aws:eks/cluster:Cluster": 1, "ebbtide:gateway:Gateway": 1}
    }  # fmt: skip
    assert read["cost"]["ceiling_usd_per_month"] == pytest.approx(730 * read["cost"]["ceiling_usd_per_hour"])


@pytest.mark.parametrize("width", [40, 60, 80, 100, 120, 200])
def test_no_line_is_wider_than_the_terminal(tmp_path: Path, width: int) -> None:
    text = drawn(document_of(tmp_path, **TOO_LONG), width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    for word in ("EBB026", "g5.8xlarge", "14.96", "test/eight"):
        assert word in text.replace("\n", "")


def test_colour_is_for_terminals_that_want_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = document_of(tmp_path, **TOO_LONG)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert "\x1b[1;31m" in drawn(read, 100, force_terminal=True, color_system="standard")
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", drawn(read, 100, force_terminal=True, color_system="standard"))
    assert "\x1b" not in drawn(read, 100)
    assert "\x1b" not in report_text.written(read)


def test_a_value_is_never_markup(tmp_path: Path) -> None:
    nasty = "<script>alert(1)</script> [bold]x[/bold] | `y`\\|"
    read = document_of(tmp_path, renamed(EIGHT, source=nasty), **TOO_LONG)
    read["models"][0]["name"] = read["cold_path"][0]["model"] = nasty
    read["findings"][0]["value"] = read["findings"][0]["fix"] = nasty
    assert "[bold]x[/bold]" in drawn(read, 200)
    text = page(read)
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    for line in markdown(read).splitlines():
        assert "<script" not in line
        if line.startswith("| EBB"):
            assert len(re.findall(r"(?<!\\)(?:\\\\)*\|", line)) == 6


def test_markdown_is_whole_tables(tmp_path: Path) -> None:
    text = markdown(document_of(tmp_path, **TOO_LONG))
    assert text.startswith(
        "## Plan of test (aws, us-east-1, prod)\n\n**1 finding: with these nothing may be created.**"
    )
    for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        rows = [len(re.findall(r"(?<!\\)\|", line)) for line in block.splitlines()]
        assert len(set(rows)) == 1, block


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.wrong: list[str] = []
        self.asks: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "br", "img", "link", "input", "hr"):
            self.open.append(tag)
        self.asks += [(tag, name) for name, _ in attrs if name in ("src", "href", "srcset", "action")]

    def handle_endtag(self, tag: str) -> None:
        if not self.open or self.open.pop() != tag:
            self.wrong.append(tag)


@pytest.mark.parametrize("known", [EIGHT, None, facts(torch_dtype="float32")])
def test_the_page_is_well_formed_and_asks_for_nothing(tmp_path: Path, known: Any) -> None:
    text = page(document_of(tmp_path, known))
    read = _Page()
    read.feed(text)
    assert (read.open, read.wrong, read.asks) == ([], [], [])
    assert "url(" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert "prefers-color-scheme: dark" in text


def test_the_bars_of_a_gpu_are_its_memory(tmp_path: Path) -> None:
    from infra.planner.report.html import bar

    parts = bar(document_of(tmp_path)["models"][0]["memory"])
    assert [part.name for part in parts] == ["weights", "engine", "KV cache", "margin"]
    assert sum(part.width for part in parts) == pytest.approx(100, abs=0.2)
    assert parts[0].width == pytest.approx(100 * 14.96 / 21.9, abs=0.2)
    short = bar(document_of(tmp_path, facts(num_hidden_layers=80))["models"][0]["memory"])
    assert sum(part.width for part in short) <= 100.01


def test_a_refused_stack_file_still_makes_every_format() -> None:
    read = document("test", "f", [], None, None)
    assert "Plan of test" in drawn(read, 80)
    assert "Plan of test" in page(read)
    assert markdown(read).startswith("## Plan of test")


def test_changes_name_what_differs_and_nothing_else(tmp_path: Path) -> None:
    before, after = document_of(tmp_path), document_of(tmp_path, changes={"pools.one.max": 5}, maxTokens=4096)
    assert changes(before, before) == []
    differences = {each["path"]: (each["before"], each["after"]) for each in changes(before, after)}
    assert differences["pools.one.max"] == (2, 5)
    assert differences["models.eight.context_tokens"] == (8192, 4096)
    assert "cost.ceiling_usd_per_hour" in differences
    gone = {each["path"]: each["after"] for each in changes(before, document("test", "f", [], None, None))}
    assert gone["models.eight"] is None
    shown = {**after, "changes": changes(before, after), "against": "main:stacks/Pulumi.test.yaml"}
    for text in (drawn(shown, 120), page(shown), markdown(shown)):
        assert "pools.one.max" in text


def test_figures_read_as_a_person_writes_them() -> None:
    assert [gib(v) for v in (None, 512, 131072, 16 * 2**30)] == ["unknown", "512 B", "128 KiB", "16 GiB"]
    assert [usd(v) for v in (None, 0, 4.1, 19603.2)] == ["unknown", "0.00", "4.10", "19,603.20"]
    assert [span(v) for v in (None, 1, 1.5, 53, 264, 7200)] == ["unknown", "1 s", "1.5 s", "53 s", "4 min 24 s", "2 h"]
    assert [parameters(v) for v in (None, 8_030_261_248, 134_000_000)] == ["unknown", "8.0 B", "134 M"]
    assert count(8192) == "8,192"
