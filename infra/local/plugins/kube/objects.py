"""Kubernetes objects as the program writes them, and as the API server takes them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from infra.local.plugins.plugin import Call, Naming
from infra.local.plugins.properties import UNKNOWN, Secret, mark_secrets, plain

AUTONAMED = "pulumi.com/autonamed"
SKIP_AWAIT = "pulumi.com/skipAwait"
TIMEOUT_SECONDS = "pulumi.com/timeoutSeconds"
PATCH_FORCE = "pulumi.com/patchForce"
FIELD_MANAGER = "pulumi.com/patchFieldManager"
PROPAGATION = "pulumi.com/deletionPropagationPolicy"
WAIT_FOR = "pulumi.com/waitFor"

_DASHED = {
    f"x_kubernetes_{name}": f"x-kubernetes-{name.replace('_', '-')}"
    for name in (
        "embedded_resource", "int_or_string", "list_map_keys", "list_type", "map_type",
        "preserve_unknown_fields", "validations",
    )
}  # fmt: skip
_UNDERSCORED = {dashed: name for name, dashed in _DASHED.items()}


def group_version_kind(token: str) -> tuple[str, str]:
    """The apiVersion and kind that a type token stands for: ``kubernetes:apps/v1:Deployment``."""
    _, api_version, kind = token.split(":", 2)
    return api_version.removeprefix("core/"), kind


def is_patch(token: str, inputs: Mapping[str, Any]) -> bool:
    """Whether the resource only owns some fields of an object that belongs to somebody else."""
    kind = token.rsplit(":", 1)[-1]
    return kind.endswith("Patch") and inputs.get("kind", kind[:-5]) == kind[:-5]


def with_identity(token: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """``inputs`` with apiVersion and kind, which a program may leave to the type of the resource."""
    api_version, kind = group_version_kind(token)
    kind = kind.removesuffix("Patch") if is_patch(token, inputs) else kind
    return {"apiVersion": api_version, "kind": kind, **{k: v for k, v in inputs.items() if v is not None}}


def annotation(thing: Mapping[str, Any], name: str) -> str | None:
    """One annotation of an object."""
    annotations = (thing.get("metadata") or {}).get("annotations") or {}
    value = annotations.get(name) if isinstance(annotations, Mapping) else None
    return None if value is None or value is UNKNOWN else str(plain(value))


def flagged(thing: Mapping[str, Any], name: str) -> bool:
    """Whether an annotation says true."""
    return (annotation(thing, name) or "").lower() == "true"


def autonamed(call: Call, inputs: dict[str, Any], olds: Mapping[str, Any], naming: Naming) -> dict[str, Any]:
    """``inputs`` with a name made from the resource's when the program gave none; an earlier made-up name stays."""
    metadata = dict(inputs.get("metadata") or {})
    if metadata.get("name") or metadata.get("generateName"):
        return inputs
    old = plain(olds.get("metadata") or {})
    if flagged(olds, AUTONAMED) and old.get("name"):
        metadata["name"] = old["name"]
    elif naming.proposed and naming.mode != "DISABLE":
        metadata["name"] = naming.proposed
    else:
        metadata["name"] = f"{call.name}-{hashlib.sha256(naming.seed).hexdigest()[:7]}".lower()
    metadata["annotations"] = {**(metadata.get("annotations") or {}), AUTONAMED: "true"}
    return {**inputs, "metadata": metadata}


def to_send(inputs: Mapping[str, Any], namespace: str) -> dict[str, Any]:
    """What goes to the API server: nothing null, no status, schema keywords spelled with dashes.

    ``namespace`` is the effective one, empty for a kind that has none.
    """
    thing: dict[str, Any] = _renamed(plain(inputs), _DASHED)
    thing.pop("status", None)
    metadata = thing.setdefault("metadata", {})
    metadata.pop("namespace", None)
    if namespace:
        metadata["namespace"] = namespace
    return thing


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    if isinstance(value, Mapping):
        return {names.get(key, key): _renamed(item, names) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_renamed(item, names) for item in value]
    return value


def from_live(live: Mapping[str, Any]) -> dict[str, Any]:
    """A live object as the program sees it: without who owns which field, keywords spelled for Python."""
    thing: dict[str, Any] = _renamed(live, _UNDERSCORED)
    thing.get("metadata", {}).pop("managedFields", None)
    return thing


def hide(thing: dict[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
    """``thing`` with secrets where ``like`` has them, and a Secret's contents secret in any case."""
    marked: dict[str, Any] = mark_secrets(thing, like)
    if marked.get("kind") == "Secret" and marked.get("apiVersion") == "v1":
        for key in ("data", "stringData"):
            if marked.get(key) is not None and not isinstance(marked[key], Secret):
                marked[key] = Secret(marked[key])
    return marked


def outputs(live: Mapping[str, Any], like: Mapping[str, Any], manager: str, first_version: str) -> dict[str, Any]:
    """What is kept in state of a live object."""
    return {
        **hide(from_live(live), like),
        "__fieldManager": manager,
        "__initialApiVersion": first_version,
    }


def preview_outputs(inputs: dict[str, Any]) -> dict[str, Any]:
    """What can be said of an object that does not exist yet: its inputs; what the server assigns is not known."""
    shown = {key: value for key, value in inputs.items() if key != "status"}
    shown["status"] = UNKNOWN
    metadata = shown.get("metadata")
    if isinstance(metadata, Mapping):
        shown["metadata"] = {"uid": UNKNOWN, "resourceVersion": UNKNOWN, **metadata}
    spec = shown.get("spec")
    if shown.get("kind") == "Service" and isinstance(spec, Mapping):
        shown["spec"] = {"clusterIP": UNKNOWN, "clusterIPs": UNKNOWN, **spec}
    return shown


def identifier(live: Mapping[str, Any]) -> str:
    """The resource's id: ``namespace/name``, or the name alone."""
    metadata = live.get("metadata") or {}
    return "/".join(part for part in (metadata.get("namespace"), metadata.get("name")) if part)


def field_manager(urn: str) -> str:
    """The name under which a resource's fields are owned.

    It follows from the resource's URN, so that a create that was cut off before its state was written is recognised
    as one's own the next time.
    """
    return f"pulumi-kubernetes-stand-in-{hashlib.sha256(urn.encode()).hexdigest()[:8]}"
