"""How many of fifty constrained answers keep their schema: ``python -m benchmarks.well_formed``.

Tool calls and JSON schemas of a small model, through the gateway: what the engine promises, and with and without
``--tool-strict-level=parameter`` what it leaves free. Results go to ``docs/results/well-formed.json``.
"""

from __future__ import annotations

from typing import Any

from benchmarks.load_kit import about, keep, lab
from infra.console import say
from tests.lab.conftest import FIRST, Lab
from tests.lab.constrained import CALLS, STRICTEST, WAYS, forms


def as_the_engine_has_it(config: dict[str, Any]) -> None:
    arguments = config["ebbtide:models"][FIRST]["extraArgs"]
    config["ebbtide:models"][FIRST]["extraArgs"] = [each for each in arguments if each != STRICTEST]


def count(at: Lab) -> dict[str, dict[str, int]]:
    at.wake(FIRST)
    counts = {}
    for way, request in WAYS.items():
        counts[way] = forms(at, request)
        say(f"    {way}: {counts[way]}")
    return counts


def main() -> None:
    at = lab()
    result: dict[str, Any] = {"what": "forms of constrained answers, by how they were asked", **about(), "calls": CALLS}
    result["model"] = FIRST
    result[STRICTEST] = count(at)
    keep("well-formed.json", result)
    with at.stack_with(as_the_engine_has_it):
        at.until_rolled_out(FIRST)
        result["without"] = count(at)
    keep("well-formed.json", result)
    at.api.close()


if __name__ == "__main__":
    main()
