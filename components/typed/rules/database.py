"""Rules for the database of keys and usage, and the right to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from components.typed.rules import rules_beside

globals().update(rules_beside(__file__))

if TYPE_CHECKING:
    from components.typed.refusal import Rule

    SECTIONS: dict[str, str]

    def __getattr__(name: str) -> Rule: ...
