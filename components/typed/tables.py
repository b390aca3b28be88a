"""Reading of the data files that come with the product. ``infra.stackfile`` reads users' files with more care."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""libyaml's loader if available: it takes an eighth of the time, and every command reads 30 of these files."""


def read_table(file: Path) -> Any:
    """Return the contents of ``file``. Raises ``yaml.YAMLError`` if it is not YAML."""
    return yaml.load(file.read_text(encoding="utf-8"), Loader=LOADER)  # noqa: S506
