"""How long a cluster's version of Kubernetes is supported: the tables, and the finding made of them."""

from __future__ import annotations

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml

from components.platforms.kinds import KINDS
from components.platforms.kubernetes_support import SOON, releases
from infra.stackfile.findings.finding import Finding
from infra.stackfile.load import read_file
from infra.stackfile.yaml_source import read
from infra.workspace import PROJECT

STACKS = PROJECT / "stacks"
CLOUDS = [kind.name for kind in KINDS.values() if kind.makes_nodes]
ENDS = {"aws": date(2027, 3, 27), "azure": date(2027, 3, 31), "gcp": date(2027, 4, 11)}
"""The last days of standard support of 1.35."""


def findings_on(
    cloud: str, today: date, tmp_path: Path, *, cluster: dict[str, Any] | None = None
) -> list[tuple[str, str]]:
    values = dict(read(STACKS / f"Pulumi.{cloud}-dev.yaml").value)
    values["config"]["ebbtide:platform"]["cluster"] |= cluster or {}
    file = tmp_path / f"Pulumi.{cloud}-dev.yaml"
    file.write_text(yaml.safe_dump(values))
    return [(each.severity, each.message) for each in findings(file, today)]


def findings(file: Path, today: date) -> list[Finding]:
    return [each for each in read_file(file, today=today).findings if each.code == "EBB066"]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_version_is_warned_of_sixty_days_before_its_end_and_refused_after_it(cloud: str, tmp_path: Path) -> None:
    end = ENDS[cloud]
    assert findings_on(cloud, end - SOON - timedelta(days=1), tmp_path) == []
    assert findings_on(cloud, end - SOON, tmp_path) == [("warning", f"leaves standard support in this cloud on {end}")]
    assert findings_on(cloud, end, tmp_path)[0][0] == "warning"
    after = end + timedelta(days=1)
    assert findings_on(cloud, after, tmp_path) == [("error", f"left standard support in this cloud on {end}")]


@pytest.mark.parametrize("cloud", CLOUDS)
def test_who_pays_for_longer_support_is_refused_at_its_end_only(cloud: str, tmp_path: Path) -> None:
    asked = {"releaseChannel": "EXTENDED"} if cloud == "gcp" else {"support": "extended"}
    after = ENDS[cloud] + timedelta(days=1)
    assert findings_on(cloud, after, tmp_path, cluster=asked) == []
    table = releases(cloud)
    assert table is not None
    end = table.releases["1.35"].extended_end
    late = findings_on(cloud, date(2029, 1, 1), tmp_path, cluster=asked)
    assert late == ([] if end is None else [("error", f"left extended support in this cloud on {end}")])


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_version_older_than_every_known_one_is_refused_and_a_newer_one_is_not(cloud: str, tmp_path: Path) -> None:
    today = date(2026, 11, 29)
    assert [severity for severity, _ in findings_on(cloud, today, tmp_path, cluster={"version": "1.25"})] == ["error"]
    assert findings_on(cloud, today, tmp_path, cluster={"version": "1.60"}) == []
    assert [severity for severity, _ in findings_on(cloud, today, tmp_path, cluster={"version": "1.33"})] == ["error"]


@pytest.mark.parametrize("cloud", ["azure", "gcp"])
def test_the_clouds_own_choice_of_a_version_is_not_judged(cloud: str, tmp_path: Path) -> None:
    assert findings_on(cloud, date(2040, 1, 1), tmp_path, cluster={"version": None}) == []


@pytest.mark.parametrize(
    ("version", "fix"),
    [
        ("1.34", ", or pay for longer support with cluster.support: extended (until 2027-12-02)"),
        ("1.31", ""),  # which is over too
    ],
)
def test_longer_support_is_offered_while_there_is_some(version: str, fix: str, tmp_path: Path) -> None:
    findings_on("aws", date(2026, 11, 29), tmp_path, cluster={"version": version})
    (finding,) = findings(tmp_path / "Pulumi.aws-dev.yaml", date(2026, 11, 29))
    assert finding.fix == f"upgrade, one minor version at a time{fix}"


@pytest.mark.parametrize("cloud", CLOUDS)
def test_a_table_is_in_order_and_says_where_it_was_read(cloud: str) -> None:
    table = releases(cloud)
    assert table is not None
    for release in table.releases.values():
        assert release.released < release.end < (release.extended_end or date.max)
    for name in ("1.33", "1.34", "1.35", "1.36"):
        assert name in table.releases


@pytest.mark.parametrize("stack", [f"{cloud}-{environment}" for cloud in CLOUDS for environment in ("dev", "prod")])
def test_the_shipped_stacks_have_a_version_that_is_supported_today(stack: str) -> None:
    assert [f for f in read_file(STACKS / f"Pulumi.{stack}.yaml").findings if f.code == "EBB066"] == []
