"""Labels and their selectors, read as Kubernetes reads them: on which nodes a pod may run, by its selector and its
required node affinity, and which pods a label selector matches (apimachinery, ``LabelSelectorAsSelector``)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from infra.policies.inputs import get_path

_REQUIRED = "affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms"


@dataclass(frozen=True)
class Choice:
    """One alternative of a pod: the selector alone, or with one term of its affinity. ``at`` is its path in the pod's
    spec."""

    at: str
    selector: Mapping[str, str]
    expressions: Sequence[Any] = ()

    def takes(self, labels: Mapping[str, str]) -> bool:
        """Return True if a node with ``labels`` satisfies this choice."""
        return self.selector.items() <= labels.items() and all(_holds(each, labels) for each in self.expressions)

    @property
    def keys(self) -> str:
        """Return the label keys it asks for, as text for messages."""
        return ", ".join([*self.selector, *(str(get_path(each, "key", "")) for each in self.expressions)])


def choices(spec: Any) -> list[Choice]:
    """Return all alternatives; none if the pod asks for nothing and may land anywhere."""
    selector = {key: str(value) for key, value in (get_path(spec, "nodeSelector") or {}).items()}
    terms = get_path(spec, _REQUIRED) or ()
    if not terms:
        return [Choice("nodeSelector", selector)] if selector else []
    # a term without expressions selects no node. Source: Kubernetes API reference, NodeSelectorTerm
    indexed = [(index, get_path(term, "matchExpressions") or ()) for index, term in enumerate(terms)]
    return [Choice(f"{_REQUIRED}[{index}]", selector, expressions) for index, expressions in indexed if expressions]


def selects(selector: Any, labels: Mapping[str, str]) -> bool:
    """Return True if both parts of the selector hold; an empty one matches everything. An operator that Kubernetes does
    not know matches nothing: the API server will refuse it.
    """
    match_labels = get_path(selector, "matchLabels") or {}
    if any(labels.get(key) != str(value) for key, value in match_labels.items()):
        return False
    return all(_holds(term, labels) for term in get_path(selector, "matchExpressions") or ())


def _holds(expression: Any, labels: Mapping[str, str]) -> bool:
    """Return True if it holds. An operator not read here (``Gt``, ``Lt``) never does: what is not understood fails."""
    key, operator = str(get_path(expression, "key", "")), get_path(expression, "operator")
    values = [str(value) for value in get_path(expression, "values") or ()]
    label_value = labels.get(key)
    if operator == "In":
        return label_value in values
    if operator == "NotIn":
        return label_value not in values  # also without that label
    return (operator == "Exists" and label_value is not None) or (operator == "DoesNotExist" and label_value is None)
