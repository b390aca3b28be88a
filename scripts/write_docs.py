"""Writer of the pages of ``docs/`` that are generated from the program: ``make docs``."""

from __future__ import annotations

from collections.abc import Callable

from infra.workspace import PROJECT
from scripts.commands_page import commands_page
from scripts.findings_page import findings_page
from scripts.stack_file_page import stack_file_page

PAGES: dict[str, Callable[[], str]] = {
    "commands.md": commands_page,
    "findings.md": findings_page,
    "stack-file.md": stack_file_page,
}


def main() -> None:
    for name, write in PAGES.items():
        (PROJECT / "docs" / name).write_text(write())


if __name__ == "__main__":
    main()
