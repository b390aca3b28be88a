"""Tables of the properties whose change forces a new resource: ``<package>.yaml``, dated and sourced. The gate judges
by them, and the lab's stand-in providers act on them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from functools import cache
from pathlib import Path as File
from typing import Any

from components.typed.tables import read_table
from infra.gate.replacement.property_path import Path, parse

FOLDER = File(__file__).parent
# The random provider: any change of a value's inputs makes another value.
_WHOLE = "random:"
_POD_MUTABLE = {"activeDeadlineSeconds", "tolerations", "containers", "initContainers"}


class Known(Enum):
    """Presence of a table for a type."""

    YES = "yes"
    NO = "no"


@cache
def table(package: str) -> Mapping[str, tuple[str, ...]]:
    """Return one provider's table, by type; empty if nobody has looked it up."""
    file = FOLDER / f"{package}.yaml"
    if not file.is_file():
        return {}
    return {token: tuple(paths) for token, paths in read_table(file).items()}


def read_all() -> None:
    """Read every table now, before either program has run."""
    for file in FOLDER.glob("*.yaml"):
        table(file.stem)


def forcing(entry: Mapping[str, Any]) -> tuple[Known, tuple[Path, ...]]:
    """Return the properties of a recorded resource whose change forces a new one, and if its type is known."""
    token = str(entry["type"])
    if token.startswith(_WHOLE):
        return Known.YES, ((),)
    if token.startswith("pulumi:providers:"):
        # only the cluster or account decides; its other settings are how to reach it
        # Source: pulumi-kubernetes documentation, clusterIdentifier
        return Known.YES, (("clusterIdentifier",),)
    if token.startswith("kubernetes:helm.sh/"):
        return Known.NO, ()
    if token.startswith("kubernetes:"):
        fields = _of_object(entry.get("inputs") or {}, patch=token.endswith("Patch"))
        return Known.YES, (*fields, ("metadata", "namespace"))
    paths = table(token.partition(":")[0]).get(token)
    if paths is None:
        return Known.NO, ()
    return Known.YES, tuple(parse(path.replace("[*]", "")) for path in paths)


def _of_object(thing: Mapping[str, Any], *, patch: bool) -> tuple[Path, ...]:
    """Return the fields of a Kubernetes object whose change needs a new one; for a patch only its identity. The data
    of Secrets and ConfigMaps changes in place unless ``immutable``: the stack's own Kubernetes provider is set so."""
    paths = ["metadata.name"]
    if not patch:
        group = str(thing.get("apiVersion", "")).rpartition("/")[0]
        kind = str(thing.get("kind", ""))
        paths += table("kubernetes").get(f"{group}/{kind}", ())
        if (group, kind) in (("", "Secret"), ("", "ConfigMap")) and thing.get("immutable") is True:
            paths += ["data", "stringData", "binaryData"]
        if (group, kind) == ("", "Pod"):
            spec = thing.get("spec") or {}
            paths += [f"spec.{key}" for key in spec if key not in _POD_MUTABLE]
    return (("kind",), *(parse(path) for path in paths))
