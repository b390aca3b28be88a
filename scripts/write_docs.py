"""Writer of the pages of ``docs/`` and of the package's schema, which come from the program: ``make docs``."""

from __future__ import annotations

from collections.abc import Callable

from infra.package.host import Package
from infra.workspace import PROJECT
from scripts import code_owners_page
from scripts.charts_page import charts_page
from scripts.clients_page import clients_page
from scripts.commands_page import commands_page
from scripts.findings_page import findings_page
from scripts.paths_page import paths_page
from scripts.stack_file_page import stack_file_page

PAGES: dict[str, Callable[[], str]] = {
    "docs/clients.md": clients_page,
    "docs/charts.md": charts_page,
    "docs/commands.md": commands_page,
    "docs/examples/CODEOWNERS": code_owners_page.github,
    "docs/examples/CODEOWNERS.gitlab": code_owners_page.gitlab,
    "docs/findings.md": findings_page,
    "docs/paths.md": paths_page,
    "docs/stack-file.md": stack_file_page,
    "infra/package/schema.json": lambda: Package().schema_text,
}


def main() -> None:
    for name, write in PAGES.items():
        (PROJECT / name).write_text(write())


if __name__ == "__main__":
    main()
