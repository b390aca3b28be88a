"""The rules of the product. They are data: ``stack.yaml`` and its neighbours here, ``rules.yaml`` of a place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from components.typed.refusal import Rule
from components.typed.tables import read_table


class _RuleFile(BaseModel):
    """``sections``: headings of docs/findings.md, by the first code below each. ``rules``: each by its name in code."""

    model_config = ConfigDict(extra="forbid")

    sections: dict[str, str]
    rules: dict[str, Rule]


def rules_beside(module: str) -> dict[str, Any]:
    """What a module of rules holds: ``SECTIONS``, and by its name every rule of the YAML file beside ``module``.

    A name that is not in the file is an ``ImportError`` where it is imported. Raises ``ValidationError`` for a rule
    that lacks a text or has a key too many.
    """
    file = _RuleFile.model_validate(read_table(Path(module).with_suffix(".yaml")))
    return {"SECTIONS": file.sections, **file.rules}
