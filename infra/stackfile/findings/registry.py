"""Every rule of the product, by code."""

from __future__ import annotations

import importlib
from functools import cache
from types import ModuleType

from components.platforms.kinds import KINDS
from components.typed.refusal import Rule
from components.typed.rules import database, file, planner, pools, stack, waivers


@cache
def rules() -> tuple[Rule, ...]:
    """Return all rules, in the order of their codes."""
    values = [value for module in modules() for value in vars(module).values() if isinstance(value, Rule)]
    return tuple(sorted(values, key=lambda rule: rule.code))


def waivable() -> tuple[str, ...]:
    """Return the codes of findings that a waiver can lift: those that break a policy, and no error."""
    return tuple(rule.code for rule in rules() if "mandatory" in rule.severities)


def modules() -> list[ModuleType]:
    """Return the modules that hold rules: those for all platforms, and ``rules.py`` of each that has its own."""
    own = [importlib.import_module(f"{kind.package}.rules") for kind in KINDS.values() if kind.has("rules")]
    return [stack, file, pools, database, planner, waivers, *own]
