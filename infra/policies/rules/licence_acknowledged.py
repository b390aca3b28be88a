"""Gated models are served by those who accepted the licence."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.model import Graph, NotEvaluated, Outcome, Rule, Violation
from infra.policies.settings import Settings
from infra.policies.stackfile import catalogue


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    for name, model in graph.entries("models"):
        if model.get("licenceAccepted") is True:
            continue
        known = catalogue().get(str(model.get("id")))
        if known is None or known.get("gated") is None:
            yield NotEvaluated(
                f"stack:models.{name}", "id", "is no model of the catalogue: whether it is gated is not known"
            )
        elif known["gated"]:
            yield Violation(f"stack:models.{name}", "id", "is gated, and nobody has accepted its licence")


RULE = Rule(
    id="licence-acknowledged",
    title="The licence of every gated model is acknowledged",
    reason="serving a gated model without accepting its terms is a breach of them",
    key="models.<model>.licenceAccepted",
    fix="read the licence on the page of the model, accept it there, and add licenceAccepted: true",
    scope="stack",
    judge=judge,
)
