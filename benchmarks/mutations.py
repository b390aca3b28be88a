"""Which mutated stack the gate catches by which rule: ``python -m benchmarks.mutations``.

Every mutation of ``tests/policies/mutations.py`` is made in a stack that breaks no rule, and judged by the gate. The
table goes to ``docs/results/mutations.md``; the command ends with 1 where one is missed, or caught by another rule too.
"""

from __future__ import annotations

import sys
from pathlib import Path

from infra.policies.rules import rules
from tests.policies.mutations import MUTATIONS
from tests.policies.test_rules import gate, mutated

RESULTS = Path(__file__).resolve().parents[1] / "docs" / "results" / "mutations.md"


def table() -> tuple[str, int]:
    """The page, and how many were not caught by their rule alone."""
    rows, missed = [], 0
    for mutation in MUTATIONS:
        blocked = gate(*mutated(mutation)).blocked_by
        caught = blocked == [f"rule {mutation.rule}"]
        missed += not caught
        outcome = "yes, alone" if caught else f"no: {', '.join(blocked) or 'passed'}"
        rows.append(f"| `{mutation.rule}` | {mutation.what} | {mutation.environment} | {outcome} |")
    mandatory = [rule.id for rule in rules() if "mandatory" in rule.levels.values()]
    covered = len({mutation.rule for mutation in MUTATIONS} & set(mandatory))
    page = [
        "# Mutations",
        "",
        "Each is one thing broken in a stack that breaks no rule (the recorded graph and stack file of",
        "`tests/policies/stack.py`), judged by the gate. Written by `python -m benchmarks.mutations`.",
        "",
        f"**{len(MUTATIONS) - missed} of {len(MUTATIONS)} caught by their rule and no other; "
        f"{covered} of {len(mandatory)} mandatory rules have one.**",
        "",
        "| rule | what is broken | environment | caught |",
        "|---|---|---|---|",
        *sorted(rows),
    ]
    return "\n".join(page) + "\n", missed


def main() -> int:
    page, missed = table()
    RESULTS.write_text(page, encoding="utf-8")
    print(page)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
