"""A GPU pool of Karpenter's is a Kubernetes object, and held to the same rules as a cloud's own node pool."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from components.platforms.aws.karpenter_pool import node_pool
from tests.policies.stack import Stack, entry
from tests.policies.test_rules import gate
from tests.program.aws_kit import POOLS

Spec = dict[str, Any]


def karpenter() -> Stack:
    """The good stack, its node group replaced by the NodePool that the program writes."""
    stack = Stack()
    stack.resources.remove(stack.find("NodeGroup"))
    spec = node_pool(POOLS["gpu-1xa10"], ["us-east-1a"], 900)
    inputs = {"apiVersion": "karpenter.sh/v1", "kind": "NodePool", "metadata": {"name": "gpu-1xa10"}, "spec": spec}
    component = "ebbtide:platforms:AwsKarpenterPool"
    stack.resources.append(
        entry("kubernetes:karpenter.sh/v1:NodePool", "gpu-1xa10-pool", inputs, component, protect=True)
    )
    return stack


def spec_of(stack: Stack) -> Spec:
    spec: Spec = stack.inputs("karpenter.sh/v1:NodePool")["spec"]
    return spec


def _untainted(stack: Stack) -> None:
    spec_of(stack)["template"]["spec"]["taints"] = []


def _unbounded(stack: Stack) -> None:
    del spec_of(stack)["limits"]["nodes"]


def _many(stack: Stack) -> None:
    spec_of(stack)["limits"]["nodes"] = "500"


def _relabelled(stack: Stack) -> None:
    spec_of(stack)["template"]["metadata"]["labels"] = {"workerType": "another"}


def _on_spot(stack: Stack) -> None:
    spec_of(stack)["template"]["spec"]["requirements"][3]["values"] = ["spot"]


def _bare(stack: Stack) -> None:
    stack.find("karpenter.sh/v1:NodePool")["protect"] = False


def _gone(stack: Stack) -> None:
    stack.resources.remove(stack.find("karpenter.sh/v1:NodePool"))


def test_a_pool_of_karpenters_that_keeps_the_rules_passes() -> None:
    assert gate(karpenter(), karpenter()).blocked_by == []


@pytest.mark.parametrize(
    ("rule", "change"),
    [
        ("gpu-taint", _untainted), ("max-present", _unbounded), ("gpu-ceiling", _many), ("placement", _relabelled),
        ("spot-only-production", _on_spot), ("protected", _bare), ("deletion-approved", _gone),
    ],
)  # fmt: skip
def test_what_breaks_a_rule_in_a_pool_of_karpenters_is_blocked(rule: str, change: Callable[[Stack], None]) -> None:
    head = karpenter()
    change(head)
    assert gate(karpenter(), head).blocked_by == [f"rule {rule}"]
