"""Weights are read from files that cannot run code."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.model import Graph, NotEvaluated, Outcome, Rule, Violation, each
from infra.policies.pods import Pod, flags, pods
from infra.policies.settings import Settings
from infra.policies.stackfile import catalogue


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    for name, model in graph.entries("models"):
        files = (catalogue().get(str(model.get("id"))) or {}).get("weightFiles")
        if not files:
            yield NotEvaluated(
                f"stack:models.{name}", "id", "is no model of the catalogue: its weight files are not known"
            )
        elif "safetensors" not in files:
            yield Violation(f"stack:models.{name}", "id", f"has no safetensors, only {', '.join(map(str, files))}")

    def engine(found: Pod) -> Iterator[Outcome]:
        for path, container in found.main_containers():
            form = flags(container).get("--load-format")
            if form is not None and form not in settings.safe_load_formats:
                yield found.owner.violation(f"{path}.args", "--load-format may read weight files that run code")

    yield from each(pods(graph), engine, "stack:models")


RULE = Rule(
    id="safetensors",
    title="Weights are safetensors",
    reason="a pickle (.bin, .pt) runs whatever its author put into it, on the node with the GPU",
    key="models.<model>.id",
    fix="use a model, or a revision of it, that has safetensors; leave --load-format alone",
    scope="stack",
    judge=judge,
)
