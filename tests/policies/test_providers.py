"""Providers that work on another place take along what they made, and rules read what an engine shows of them."""

from __future__ import annotations

from typing import Any

import pytest

from infra.policies.providers import repointed
from tests.policies import shapes_kit as kit
from tests.policies.shapes_kit import Entry

pytest.importorskip("pulumi_aws")
pytest.importorskip("pulumi_gcp")


def changed(stack: str, package: str, **inputs: Any) -> tuple[list[Entry], list[Entry]]:
    base, head = (kit.graph(kit.index_of(stack)) for _ in range(2))
    kit.find(head, f"pulumi:providers:{package}")["inputs"].update(inputs)
    return base, head


@pytest.mark.parametrize(
    ("stack", "package", "inputs"),
    [
        ("onprem", "kubernetes", {"context": "another"}),
        ("onprem", "kubernetes", {"clusterIdentifier": "another", "context": "another"}),
        ("aws-prod", "aws", {"region": "eu-west-1"}),
        ("aws-prod", "aws", {"allowedAccountIds": '["999999999999"]'}),
        ("gcp-prod", "gcp", {"project": "another"}),
        ("aws-prod", "kubernetes", {"clusterIdentifier": "another"}),
    ],
    ids=str,
)
def test_a_provider_of_another_place_takes_along_all_that_it_made(
    stack: str, package: str, inputs: dict[str, Any]
) -> None:
    base, head = changed(stack, package, **inputs)
    (change,) = repointed(base, head)
    assert change.paths == tuple(inputs)
    assert len(change.takes) > 20
    assert set(change.takes) <= {entry["urn"] for entry in base if entry["provider"] == change.urn}
    assert next(iter(inputs)) in change.why


@pytest.mark.parametrize(
    ("stack", "package", "inputs"),
    [("aws-prod", "aws", {"defaultTags": "{}"}), ("aws-prod", "kubernetes", {"kubeconfig": "another"})],
    ids=str,
)
def test_another_label_or_another_way_to_the_same_cluster_takes_nothing(
    stack: str, package: str, inputs: dict[str, Any]
) -> None:
    assert list(repointed(*changed(stack, package, **inputs))) == []
