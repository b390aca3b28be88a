"""Label selectors as Kubernetes reads them."""

from __future__ import annotations

from typing import Any

import pytest

from infra.policies.inputs import InputsMap
from infra.policies.node_choice import selects

LABELS = {"app": "vllm", "tier": "gpu"}


def term(key: str, operator: str, *values: str) -> dict[str, Any]:
    return {"matchExpressions": [{"key": key, "operator": operator, **({"values": [*values]} if values else {})}]}


@pytest.mark.parametrize(
    ("selector", "taken"),
    [
        ({}, True),
        ({"matchLabels": {"app": "vllm"}}, True),
        ({"matchLabels": {"app": "vllm", "tier": "cpu"}}, False),
        (term("app", "In", "web", "vllm"), True),
        (term("app", "In", "web"), False),
        (term("zone", "In", "a"), False),
        (term("app", "NotIn", "web"), True),
        (term("app", "NotIn", "vllm"), False),
        (term("zone", "NotIn", "a"), True),
        (term("tier", "Exists"), True),
        (term("zone", "Exists"), False),
        (term("zone", "DoesNotExist"), True),
        (term("tier", "DoesNotExist"), False),
        (term("tier", "Gt", "1"), False),
        ({"matchLabels": {"app": "vllm"}, **term("tier", "NotIn", "gpu")}, False),
    ],
)
def test_what_a_selector_takes(selector: dict[str, Any], taken: bool) -> None:
    assert selects(InputsMap(selector), LABELS) is taken
