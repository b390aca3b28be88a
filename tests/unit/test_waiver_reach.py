"""A waiver is for something: a pattern that fits things of several kinds whatever they are called is refused."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from infra.stackfile.findings.waivers import load_waivers

TODAY = date(2026, 11, 28)


def codes(tmp_path: Path, resource: str) -> list[str]:
    file = tmp_path / "waivers.yaml"
    entry = f"rule: EBB020\n  resource: '{resource}'\n  owner: anna\n  reason: a workshop keeps it awake\n"
    file.write_text(f"waivers:\n- {entry}  expiry: 2026-12-04\n")
    return [each.code for each in load_waivers(file, TODAY).findings]


@pytest.mark.parametrize(
    "resource",
    ["stack:*", "*e*", "**", "?*", "*?", "[a-z]*", "[!q]*", "s*", "*:*", "*.*", "*-*", "*o*a*", "urn:*", "stack:p*",
     "stack:*.*", "*.max", "urn:pulumi:*", "urn:pulumi:aws-prod::*", "*aws-prod*", "*::ebbtide::*", "*kubernetes:*",
     "*Cluster*", "m*", "*[0-9]", "stack:?*", "stack:[mp]*", "stack:*a*"],
)  # fmt: skip
def test_a_pattern_that_fits_nearly_everything_is_refused(tmp_path: Path, resource: str) -> None:
    assert codes(tmp_path, resource) == ["EBB274"]


@pytest.mark.parametrize(
    "resource",
    ["stack:models.llama-8b", "stack:models.*", "*llama*", "stack:models.llama-8b.*", "stack:pools.gpu-1xa10", "models",
     "*llama-deployment", "stack:models.*.revision", "*kubernetes:apps/v1:Deployment::llama-*", "gateway-ingress",
     "stack:models.llama-8b.extraArgs[[]0]", "stack:guard.maxGpus", "urn:pulumi:aws-prod::ebbtide::*::weights"],
)  # fmt: skip
def test_a_pattern_with_a_name_or_for_one_kind_is_accepted(tmp_path: Path, resource: str) -> None:
    assert codes(tmp_path, resource) == []


def test_the_finding_says_what_it_matches_and_what_to_write(tmp_path: Path) -> None:
    codes(tmp_path, "stack:*")
    (problem,) = load_waivers(tmp_path / "waivers.yaml", TODAY).findings
    assert problem.message.startswith("matches what is of ")
    assert "pools, " in problem.message or "models" in problem.message or "environment" in problem.message
    assert problem.fix == "write one waiver for each thing: a resource's name, or a place like stack:models.llama-8b"
