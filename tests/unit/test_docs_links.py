"""Every link from a page to a file of this project leads to one, and the index knows every page."""

from __future__ import annotations

import re

from infra.workspace import PROJECT

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s#]+)[^)\s]*\)")
PAGES = [*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")]


def test_no_link_leads_nowhere() -> None:
    broken = [
        f"{page.relative_to(PROJECT)}: {target}"
        for page in PAGES
        for target in _LINK.findall(page.read_text())
        if "://" not in target and not (page.parent / target).exists()
    ]
    assert broken == []


def test_the_index_has_every_page() -> None:
    index = PROJECT / "docs/index.md"
    linked = {(index.parent / target).resolve() for target in _LINK.findall(index.read_text())}
    pages = {page for page in (PROJECT / "docs").rglob("*.md") if page.parent.name in ("docs", "clouds")}
    assert pages - {index} <= linked


def test_the_list_of_decisions_has_every_one() -> None:
    folder = PROJECT / "docs/decisions"
    listed = set(_LINK.findall((folder / "README.md").read_text()))
    assert {page.name for page in folder.glob("0*.md")} <= listed
