"""Whether a Kubernetes label selector takes a set of labels (apimachinery, ``LabelSelectorAsSelector``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.policies.seen import look


def selects(selector: Any, labels: Mapping[str, str]) -> bool:
    """Both parts must hold; an empty selector takes everything. An operator that Kubernetes does not know takes
    nothing: the API server will refuse it.
    """
    wanted = look(selector, "matchLabels") or {}
    if any(labels.get(key) != str(value) for key, value in wanted.items()):
        return False
    return all(_holds(term, labels) for term in look(selector, "matchExpressions") or ())


def _holds(term: Any, labels: Mapping[str, str]) -> bool:
    key, operator = str(look(term, "key")), look(term, "operator")
    values = {str(value) for value in look(term, "values") or ()}
    if operator == "In":
        return labels.get(key) in values
    if operator == "NotIn":
        return labels.get(key) not in values  # also where the label is not there at all
    if operator == "Exists":
        return key in labels
    return operator == "DoesNotExist" and key not in labels
