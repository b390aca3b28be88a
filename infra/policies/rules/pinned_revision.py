"""Every model is pinned to a commit."""

from __future__ import annotations

import re
from collections.abc import Iterator

from infra.policies.model import Graph, Outcome, Rule, Violation, each
from infra.policies.pods import Pod, flags, pods
from infra.policies.settings import Settings

_COMMIT = re.compile(r"[0-9a-f]{40}")


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    for name, model in graph.entries("models"):
        if not _COMMIT.fullmatch(str(model.get("revision"))):
            yield Violation(f"stack:models.{name}", "revision", "is not a full commit")

    def engine(found: Pod) -> Iterator[Outcome]:
        for path, container in found.main_containers():
            given = flags(container)
            for flag in ("--revision", "--tokenizer-revision", "--code-revision"):
                if flag in given and not _COMMIT.fullmatch(given[flag]):
                    yield found.owner.violation(f"{path}.args", f"{flag} is not a full commit")

    yield from each(pods(graph), engine, "stack:models")


RULE = Rule(
    id="pinned-revision",
    title="Every model is pinned to a full commit",
    reason="a branch or tag can change under a running model",
    key="models.<model>.revision",
    fix="copy the 40 hexadecimal digits from the page of the model, under Files and versions, History",
    scope="stack",
    judge=judge,
)
