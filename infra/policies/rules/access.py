"""Rule for rights: nobody administers everything, and no right is anybody's."""

from __future__ import annotations

import re
from collections.abc import Iterator

from infra.policies.clouds import clouds
from infra.policies.model import Outcome, Resource, rule
from infra.policies.rights import ANYBODY
from infra.policies.rules.shape import is_rendered
from infra.policies.settings import Settings
from infra.policies.shapes import Leaf, leaves, word


@rule(
    id="narrow-rights",
    title="Rights are narrow: nobody administers everything, and no right is anybody's",
    reason="one leaked token then has the account, the cluster, or every Secret in it",
    key="infra, components",
    fix="name the actions, the resources and the principal that are needed; leave rights to the product",
    scope="resource",
)
def narrow_rights(resource: Resource, settings: Settings) -> Iterator[Outcome]:
    if is_rendered(resource, settings):
        return
    table = clouds()["rights"]
    for leaf in leaves(resource.type, resource.inputs.raw):
        # what is not known yet, or hidden, the list of known shapes tells
        if isinstance(leaf.value, str):
            yield from _judged(resource, leaf, table)


def _judged(resource: Resource, leaf: Leaf, table: dict[str, list[str]]) -> Iterator[Outcome]:
    name = leaf.shape.replace("[*]", "").rpartition(".")[2]
    value, at = word(leaf.value), leaf.path
    if leaf.shape.endswith(": principal") and value == ANYBODY:
        yield resource.violation(at, "gives a right to anybody")
    elif value.startswith("not "):
        return  # a statement that takes a right away
    elif leaf.shape.endswith(": right") and any(re.match(wide, value) for wide in table["wide"]):
        yield resource.violation(at, f"gives a right that is too wide: {value}")
    elif leaf.shape.endswith(": right") and resource.kind.startswith("Cluster") and _is_of(value, table["clusterWide"]):
        yield resource.violation(at, f"gives a right in every namespace: {value}")
    elif name in table["fields"] and any(re.fullmatch(role, value) for role in table["administrators"]):
        yield resource.violation(at, f"makes an administrator: {value.rpartition('/')[2]}")
    elif name in ("member", "members", "principal", "name") and value in table["everybody"]:
        yield resource.violation(at, f"gives a right to {value}")


def _is_of(right: str, things: list[str]) -> bool:
    return right.partition(",")[0].partition(" ")[2] in things
