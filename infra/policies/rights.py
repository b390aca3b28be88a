"""Rights as words: what a document of a cloud's rights, or the rules of a role in Kubernetes, let somebody do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_STATEMENT = frozenset({"Sid", "Effect", "Principal", "Action", "Resource", "Condition"})
ANYBODY = "anybody"


def rights_of_document(document: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what each statement of a JSON policy says, as ``right`` (``ec2:RunInstances on * under conditions``),
    ``principal`` (a service, an account, ``anybody``) or ``field`` (one that is not read here)."""
    for statement in _listed(document.get("Statement")):
        if not isinstance(statement, Mapping):
            yield "field", "Statement"
            continue
        yield from (("field", str(key)) for key in statement.keys() - _STATEMENT)
        denied = "" if statement.get("Effect") == "Allow" else "not "
        wide = " on *" if "*" in _listed(statement.get("Resource")) else ""
        held = " under conditions" if statement.get("Condition") else ""
        for action in _listed(statement.get("Action")):
            yield "right", f"{denied}{action}{wide}{held}"
        for who in _principals(statement.get("Principal")):
            yield "principal", f"{denied}{who}"
    yield from (("field", str(key)) for key in document.keys() - {"Version", "Id", "Statement"})


def _principals(principals: Any) -> Iterator[str]:
    if principals is None:
        return
    if not isinstance(principals, Mapping):
        yield ANYBODY if principals == "*" else "a principal of no kind"
        return
    for kind, several in principals.items():
        for one in _listed(several):
            yield ANYBODY if "*" in str(one) else f"Service {one}" if kind == "Service" else str(kind)


def rights_of_rules(rules: Sequence[Any]) -> Iterator[str]:
    """Yield the rights in the rules of a Role (``get deployments.apps``, ``patch leases, some by name``). A rule with a
    field or value that is not plain gives one that says so."""
    for rule in rules:
        if not isinstance(rule, Mapping) or any(not isinstance(part, (list, tuple)) for part in rule.values()):
            yield "a rule that cannot be read"
            continue
        named = ", some by name" if rule.get("resourceNames") else ""
        for verb in rule.get("verbs", ()):
            for group in rule.get("apiGroups", ()):
                for thing in rule.get("resources", ()):
                    yield f"{verb} {thing}{'.' if group else ''}{group}{named}"
            yield from (f"{verb} {url}" for url in rule.get("nonResourceURLs", ()))
        known = {"verbs", "apiGroups", "resources", "resourceNames", "nonResourceURLs"}
        yield from (f"the field {key}" for key in rule.keys() - known)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
