"""Outside production an idle model goes away within the longest time allowed."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.model import MANDATORY, Outcome, Resource, Rule
from infra.policies.seen import look
from infra.policies.settings import Settings


def judge(resource: Resource, settings: Settings) -> Iterator[Outcome]:
    cooldown = look(resource.inputs, "spec.cooldownPeriod")
    if cooldown is None:
        yield resource.violation("spec.cooldownPeriod", "is missing")
    elif cooldown > settings.longest_idle:
        yield resource.violation("spec.cooldownPeriod", f"is {cooldown} s; at most {settings.longest_idle:.0f} s here")


RULE = Rule(
    id="idle-ttl",
    title="Outside production an idle model is gone within the longest time allowed",
    reason="a timer of days is a model that never sleeps",
    key="models.<model>.idleTtl",
    fix="lower idleTtl",
    scope="resource",
    judge=judge,
    levels={**MANDATORY, "prod": "disabled"},
    types=r"kubernetes:keda\.sh/.*:ScaledObject",
)
