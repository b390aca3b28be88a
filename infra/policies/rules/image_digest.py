"""What runs is named by digest."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from infra.policies.model import Outcome, Resource, Rule, each
from infra.policies.pods import TYPES, pods_of
from infra.policies.seen import look
from infra.policies.settings import Settings

_DIGEST = re.compile(r"[^@\s]+@sha256:[0-9a-f]{64}")


def judge(resource: Resource, settings: Settings) -> Iterator[Outcome]:
    def container(found: tuple[str, Any]) -> Iterator[Outcome]:
        path, inputs = found
        if not _DIGEST.fullmatch(str(look(inputs, "image", ""))):
            yield resource.violation(f"{path}.image", "is not named by digest")

    for pod in pods_of(resource):
        yield from each(pod.containers(), container, resource.urn)


RULE = Rule(
    id="image-digest",
    title="Every image is named by digest",
    reason="what a tag names can change between two nodes, and with it what was judged",
    key="image.base",
    fix="name it as registry/name:tag@sha256:…; images the stack builds get their digest by themselves",
    scope="resource",
    judge=judge,
    types=TYPES,
)
