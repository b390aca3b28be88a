"""Which properties cannot change in place, by the providers' own data: the tables that the stand-ins act on."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from functools import cache
from typing import Any

from infra.local.plugins.clouds.facts import FOLDER, Facts, book
from infra.local.plugins.kube import immutable
from infra.local.plugins.kube.settings import Settings
from infra.local.plugins.properties import Path
from infra.local.plugins.property_path import parse


class Known(Enum):
    """Whether the table of a type is there."""

    YES = "yes"
    NO = "no"


# What the stack's own Kubernetes provider is set to.
_MUTABLE = Settings(config_map_mutable=True, secret_mutable=True)
# The random provider's own data: any change of a value's inputs makes another value.
_WHOLE = "random:"


def forcing(entry: Mapping[str, Any]) -> tuple[Known, tuple[Path, ...]]:
    """The properties of a resource whose change makes another one of it."""
    token = str(entry["type"])
    if token.startswith(_WHOLE):
        return Known.YES, ((),)
    if token.startswith("pulumi:providers:"):
        # which cluster or account it is decides; its other settings are how to get there
        # Source: pulumi-kubernetes documentation, clusterIdentifier
        return Known.YES, (("clusterIdentifier",),)
    if token.startswith("kubernetes:helm.sh/"):
        return Known.NO, ()
    if token.startswith("kubernetes:"):
        inputs = entry.get("inputs") or {}
        given = (*immutable.paths(inputs, _MUTABLE, patch=token.endswith("Patch")), ("metadata", "namespace"))
        return Known.YES, given
    facts = _facts(token)
    if facts is None:
        return Known.NO, ()
    return Known.YES, tuple(parse(path.replace("[*]", "")) for path in facts.replaces)


@cache
def _facts(token: str) -> Facts | None:
    package = token.partition(":")[0]
    if not (FOLDER / f"{package}.yaml").is_file():
        return None
    return book(package).types.get(token)
