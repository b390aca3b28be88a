"""Lists of networks in a stack file: one's own one by one and all together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from infra.stackfile.load import read_file
from infra.stackfile.own_networks import open_to_all, public_share
from tests.program.bad_inputs import ON_AZURE, ON_GCP
from tests.unit.plan_kit import sections, write

# 112 blocks of which no two are adjacent
HALF = [f"{first}.0.0.0/8" for first in range(1, 224, 2)]
LARGE = {
    "half of the internet in 112 blocks": HALF,
    "smaller blocks with gaps": [f"{first}.0.0.0/9" for first in range(11, 40, 2)],
    "a thousand small ones": [f"{first}.{second}.0.0/16" for first in range(20, 40) for second in range(0, 40, 2)],
    "one too many of a half": ["20.0.0.0/9", "30.0.0.0/9", "203.0.113.7/32"],
    "IPv6 with gaps": [f"2{block:03x}::/17" for block in range(1, 7)],
    "two adjacent ones": ["20.0.0.0/8", "21.0.0.0/8"],
    "private ones before them": ["10.0.0.0/8", "172.16.0.0/12", *HALF],
}
OWN = {
    "private": ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10"],
    "a /8 as a whole and private ones": ["20.0.0.0/8", "10.0.0.0/8"],
    "a /8 in parts": ["20.0.0.0/9", "30.0.0.0/10", "40.0.0.0/10"],
    "the same one many times": ["20.0.0.0/9", "20.0.0.0/9", "20.0.0.0/10", "20.128.0.0/10"],
    "both versions at their most": ["20.0.0.0/8", "2600::/16"],
}
PUBLIC = {"platform.ingress.public": True, "platform.ingress.allowedNetworks": ["203.0.113.0/24"]}


@pytest.mark.parametrize("networks", LARGE.values(), ids=LARGE)
def test_a_list_is_open_by_the_sum_of_what_it_lets_in(networks: list[str]) -> None:
    assert open_to_all(networks)
    assert open_to_all(reversed(networks))


@pytest.mark.parametrize("networks", OWN.values(), ids=OWN)
def test_a_list_of_ones_own_is_closed(networks: list[str]) -> None:
    assert not open_to_all(networks)


def test_the_share_of_the_internet_is_told() -> None:
    assert public_share(HALF) == pytest.approx(112 / 256)
    assert public_share(["10.0.0.0/8"]) == 0


def findings_of(folder: Path, changes: dict[str, Any]) -> list[tuple[str, str, str | None]]:
    read = read_file(write(folder, sections(changes)))
    return [(f.code, f.path, f.policy) for f in read.findings if f.code == "EBB039"]


@pytest.mark.parametrize("networks", [each for each in LARGE.values() if ":" not in each[0]])
@pytest.mark.parametrize("cloud", [{}, ON_AZURE, ON_GCP | PUBLIC], ids=["aws", "azure", "gcp"])
def test_a_large_list_in_the_stack_file_is_refused_on_every_cloud(
    tmp_path: Path, cloud: dict[str, Any], networks: list[str]
) -> None:
    for key, policy in (("ingress.allowedNetworks", "public-listener"), ("cluster.apiAllowedNetworks", "private-api")):
        (finding,) = findings_of(tmp_path, {**cloud, f"platform.{key}": networks})
        assert finding == ("EBB039", f"platform.{key}", policy)


@pytest.mark.parametrize("cloud", [{}, ON_AZURE, ON_GCP | PUBLIC], ids=["aws", "azure", "gcp"])
def test_one_network_that_is_too_wide_is_told_where_it_stands_and_once(tmp_path: Path, cloud: dict[str, Any]) -> None:
    for wide in ("0.0.0.0/0", "0.0.0.0/1", "64.0.0.0/3", "32.0.0.0/7"):
        changes = {**cloud, "platform.cluster.apiAllowedNetworks": ["10.0.0.0/8", wide]}
        (finding,) = findings_of(tmp_path, changes)
        assert finding[:2] == ("EBB039", "platform.cluster.apiAllowedNetworks[1]")


@pytest.mark.parametrize("networks", [each for name, each in OWN.items() if "versions" not in name])
def test_ones_own_networks_pass_on_every_cloud(tmp_path: Path, networks: list[str]) -> None:
    for cloud in ({}, ON_AZURE, ON_GCP | PUBLIC):
        assert findings_of(tmp_path, {**cloud, "platform.ingress.allowedNetworks": networks}) == []
