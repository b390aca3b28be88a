"""Rule for what a program may ask for at all: what this product makes, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator

from infra.policies.inputs import LATER
from infra.policies.model import NotEvaluated, Outcome, Resource, rule
from infra.policies.settings import Settings
from infra.policies.shapes import problems, shapes, widened

_STACK, _PROVIDER = "pulumi:pulumi:Stack", "pulumi:providers:"
_MANIFESTS = "ebbtide:idle_scaling:ManifestSet"
_RENDERED = frozenset({
    "APIService", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "Deployment", "Namespace",
    "PodDisruptionBudget", "Role", "RoleBinding", "Service", "ServiceAccount", "ValidatingWebhookConfiguration",
})  # fmt: skip


@rule(
    id="known-shape",
    title="Only kinds and fields that this product makes are asked for",
    reason="what no rule knows no rule judges: a foreign kind, field or option can be anything",
    key="infra, components",
    fix="leave it out; or have knownBesides in infra/policies/settings.yaml name it, once somebody has judged it",
    scope="resource",
)
def known_shape(resource: Resource, settings: Settings) -> Iterator[Outcome]:
    for option in resource.options:
        yield resource.violation(option, "is an option of the engine that this product does not use")
    allowed = settings.known_besides.get(resource.type, ())
    known, kind = settings.shapes or shapes(), resource.type
    if is_rendered(resource, settings) or "*" in allowed:
        return
    if resource.completed and (kind == _STACK or kind.removeprefix(_PROVIDER) in known.packages):
        return  # an engine registers these itself, with inputs of its own
    if kind in known.components and not resource.custom:
        return
    shape = known.types.get(kind) if resource.custom is not False else None
    if shape is None and not allowed:
        yield resource.violation("", f"is a {kind}, a kind that this product does not make")
        return
    if resource.completed and not _is_as_sent(resource):
        return
    allowed_shape = widened(shape, allowed)
    for path, why, is_later in problems(kind, resource.inputs.raw, allowed_shape, resolved=resource.completed):
        yield NotEvaluated(resource.urn, path, LATER + (why or "`up`")) if is_later else resource.violation(path, why)


def _is_as_sent(resource: Resource) -> bool:
    """Return True if an engine shows the fields that the program gave. The providers of clouds and of charts fill in
    defaults first, so of theirs a pack judges the kind alone; the gate has judged the fields."""
    return resource.is_kubernetes and not resource.type.startswith("kubernetes:helm.sh")


def is_rendered(resource: Resource, settings: Settings) -> bool:
    """Return True for KEDA's own objects, which the machine of a local stack has rendered from its sources."""
    local = settings.environment == "local" and _MANIFESTS in resource.parent
    return local and resource.is_kubernetes and resource.kind in _RENDERED
