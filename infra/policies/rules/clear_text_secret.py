"""No secret stands in clear in the stack file or in a manifest."""

from __future__ import annotations

from collections.abc import Iterator

from infra.config.cleartext import find_secrets
from infra.policies.cleartext import plain, texts_with_secrets
from infra.policies.model import Graph, Outcome, Rule, Violation
from infra.policies.settings import Settings


def judge(graph: Graph, settings: Settings) -> Iterator[Outcome]:
    for problem in find_secrets(plain(graph.stack)).problems:
        yield Violation(f"stack:{'.'.join(map(str, problem.path))}", "", "is a secret in clear")
    for resource in graph.resources:
        if resource.kind == "Secret" and resource.is_kubernetes:
            continue  # where a secret belongs
        for path in texts_with_secrets(resource.inputs.raw):
            yield resource.violation(path, "is a secret in clear")


RULE = Rule(
    id="clear-text-secret",
    title="No secret in clear: not in the stack file, nor in env, args or annotations",
    reason="whoever may read the repository, the state or the pod reads it",
    key="models.<model>.extraEnv",
    fix="take it out, withdraw it where it was made, and keep the new one in the secrets of Pulumi or of the cluster",
    scope="stack",
    judge=judge,
)
