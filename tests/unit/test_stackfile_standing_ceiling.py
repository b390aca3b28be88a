"""Ceilings over everything that stands without GPU nodes, which no pool's max bounds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.planner.judgement import Judgement
from infra.planner.judgement import judge as judge_stack
from infra.stackfile.findings.owner_needed import needs_owner
from infra.stackfile.limits import limits
from infra.stackfile.load import read_file
from infra.workspace import PROJECT
from tests.program.bad_inputs import ON_AZURE, ON_GCP
from tests.unit.plan_kit import EIGHT, sections, write

CLOUDS: dict[str, dict[str, Any]] = {"aws": {}, "azure": ON_AZURE, "gcp": ON_GCP}


def judged(folder: Path, changes: dict[str, Any]) -> Judgement:
    return judge_stack(read_file(write(folder, sections(changes))), lambda _: EIGHT)


def codes(folder: Path, changes: dict[str, Any]) -> set[str]:
    return {finding.code for finding in judged(folder, changes).findings}


@pytest.mark.parametrize("environment", ["dev", "staging", "prod"])
@pytest.mark.parametrize(
    ("cloud", "machine"),
    [
        ("aws", "r7i.2xlarge"), ("aws", "m7i.large"), ("aws", "u-24tb1.112xlarge"), ("aws", "p4d.24xlarge"),
        ("azure", "Standard_D8s_v5"), ("azure", "Standard_M416ms_v2"), ("gcp", "n2-standard-8"),
        ("gcp", "m3-ultramem-128"),
    ],
)  # fmt: skip
def test_a_hundred_machines_in_the_system_pool_are_blocked(
    tmp_path: Path, cloud: str, machine: str, environment: str
) -> None:
    pool = {"machine": machine, "min": 100, "max": 100}
    judgement = judged(tmp_path, {**CLOUDS[cloud], "environment": environment, "platform.cluster.systemPool": pool})
    (finding,) = [finding for finding in judgement.findings if finding.code == "EBB062"]
    assert (finding.severity, finding.policy) == ("mandatory", "cost-ceiling")
    assert finding.path == "platform.cluster.systemPool.max"


@pytest.mark.parametrize(
    ("cloud", "machine", "most"),
    [
        ("aws", "r7i.2xlarge", 16), ("aws", "m6a.2xlarge", 20), ("azure", "Standard_D8s_v5", 18),
        ("gcp", "n2-standard-8", 19),
    ],
)  # fmt: skip
def test_fewer_and_dearer_ones_are_blocked_by_what_they_cost(
    tmp_path: Path, cloud: str, machine: str, most: int
) -> None:
    pool = {"machine": machine, "min": 2, "max": most}
    codes_found = codes(tmp_path, {**CLOUDS[cloud], "environment": "staging", "platform.cluster.systemPool": pool})
    assert {"EBB061", "EBB062"} <= codes_found


def test_another_region_without_prices_does_not_lift_the_ceiling(tmp_path: Path) -> None:
    changes = {
        "platform.region": "eu-west-1", "platform.network.zones": ["eu-west-1a"], "platform.ingress": None,
        "platform.cluster.systemPool": {"machine": "r7i.2xlarge", "min": 2, "max": 20},
    }  # fmt: skip
    judgement = judged(tmp_path, changes)
    assert judgement.plan is not None
    assert judgement.plan.cost.cluster.ceiling < limits().ceiling("prod").standing_dollars_per_hour
    assert "EBB061" in {finding.code for finding in judgement.findings}


@pytest.mark.parametrize(
    ("cloud", "machine"),
    [
        ("aws", "u-24tb1.112xlarge"), ("aws", "p4d.24xlarge"), ("azure", "Standard_M416ms_v2"),
        ("gcp", "a2-ultragpu-8g"),
    ],
)  # fmt: skip
def test_a_system_machine_without_a_price_needs_an_owner(tmp_path: Path, cloud: str, machine: str) -> None:
    judgement = judged(tmp_path, {**CLOUDS[cloud], "platform.cluster.systemPool.machine": machine})
    (finding,) = needs_owner(judgement.findings)
    assert (finding.code, finding.path) == ("EBB063", "platform.cluster.systemPool.machine")
    assert "a code owner has to agree" in finding.message


def test_the_bill_of_weights_counts_too(tmp_path: Path) -> None:
    assert "EBB061" in codes(tmp_path, {"models.eight.weights": "512Ti"})


@pytest.mark.parametrize("stack", sorted(each.name for each in (PROJECT / "stacks").glob("Pulumi.*.yaml")))
def test_the_shipped_stacks_stand_far_below_their_ceilings(stack: str) -> None:
    judgement = judge_stack(read_file(PROJECT / "stacks" / stack), lambda _: EIGHT)
    assert judgement.plan is not None
    most = limits().ceiling(judgement.plan.stack.environment).standing_dollars_per_hour
    assert judgement.plan.cost.standing_at_most < most / 2
    assert not needs_owner(judgement.findings)
