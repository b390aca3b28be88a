"""The GPU operator is not older than its last grave hole."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.model import Outcome, Resource, Rule
from infra.policies.seen import look
from infra.policies.settings import Settings
from infra.policies.stackfile import version


def judge(resource: Resource, settings: Settings) -> Iterator[Outcome]:
    if look(resource.inputs, "chart") != "gpu-operator":
        return
    given = look(resource.inputs, "version")
    if given is None:
        yield resource.violation("version", "is not pinned")
    elif version(str(given)) <= version(settings.operator_above):
        yield resource.violation("version", f"{given} is not above {settings.operator_above}")


RULE = Rule(
    id="operator-floor",
    title="The GPU operator is above its security floor",
    reason="older ones let a container take over its node",
    key="gpuLayer",
    fix="use the version in components/catalog/versions.yaml",
    scope="resource",
    judge=judge,
    types=r"kubernetes:helm\.sh/v3:Release",
)
