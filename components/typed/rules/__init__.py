"""The rules of the product. They are data: ``stack.yaml`` and its neighbours here, and ``rules.yaml`` of each place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from components.typed.refusal import Rule
from components.typed.tables import read_table


class _RuleFile(BaseModel):
    """A rule file. ``sections``: headings of docs/findings.md by the first code below. ``rules``: by name in code."""

    model_config = ConfigDict(extra="forbid")

    sections: dict[str, str]
    rules: dict[str, Rule]


def rules_beside(module: str) -> dict[str, Any]:
    """Return the contents of a rules module: ``SECTIONS``, and by name every rule of the YAML file beside ``module``.

    Importing a name that is not in the file is an ``ImportError``. Raises ``ValidationError`` for a rule that lacks a
    text or has an unknown key.
    """
    file = _RuleFile.model_validate(read_table(Path(module).with_suffix(".yaml")))
    return {"SECTIONS": file.sections, **file.rules}
