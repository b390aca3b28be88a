"""Rules by subject: every ``Rule`` in a module of this package, by ``@rule`` or built directly, is one."""

from __future__ import annotations

import importlib
import pkgutil
from functools import cache

from infra.policies.model import Rule


@cache
def rules() -> tuple[Rule, ...]:
    """Return all rules, by id. Raises ``ValueError`` if two have one id."""
    files = [importlib.import_module(f"{__name__}.{module.name}") for module in pkgutil.iter_modules(__path__)]
    all_rules = [value for file in files for value in vars(file).values() if isinstance(value, Rule)]
    ids = [rule.id for rule in all_rules]
    if len(set(ids)) != len(ids):
        raise ValueError(f"two rules have one id: {sorted(i for i in set(ids) if ids.count(i) > 1)}")
    return tuple(sorted(all_rules, key=lambda rule: rule.id))


def rule_ids() -> tuple[str, ...]:
    """Return the ids that a waiver may name besides the findings' codes."""
    return tuple(rule.id for rule in rules())
