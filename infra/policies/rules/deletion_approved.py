"""What does not come back by itself is not deleted on the way."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.clouds import clouds, stands_in_gpu_pool
from infra.policies.model import Graph, Outcome, Rule, Violation
from infra.policies.settings import Settings


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    table = clouds()
    for change in graph.changes:
        if change.action not in ("deleted", "replaced"):
            continue
        pool = change.type in table["pools"] and stands_in_gpu_pool(change.urn)
        if pool or change.protected or change.type in table["stateful"]:
            what = "a GPU pool" if pool else "protected" if change.protected else "stateful"
            because = f": {change.why}" if change.why else ""
            yield Violation(change.urn, "", f"is {what} and would be {change.action}{because}")


RULE = Rule(
    id="deletion-approved",
    title="Deleting or replacing a GPU pool or something stateful needs an approval",
    reason="a deleted bucket takes its weights along; a replaced pool ends what runs on it",
    key="pools.<pool>",
    fix="keep its name and what forces the replacement; or waive this rule for the resource, with an expiry",
    scope="change",
    judge=judge,
)
