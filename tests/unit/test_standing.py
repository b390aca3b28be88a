"""What stands without GPU nodes: adopted parts are on somebody else's bill, unknown prices stay unknown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from components.platforms.kinds import KINDS
from components.platforms.standing import Item, Prices, StandingFacts, lines, prices
from infra.planner.cost import cost
from tests.unit.plan_kit import stack

UUID = "00000000-0000-0000-0000-000000000000"
GROUP = f"/subscriptions/{UUID}/resourceGroups/shared/providers"
SETTINGS: dict[str, dict[str, Any]] = {
    "aws": {
        "kind": "aws",
        "region": "us-east-1",
        "account": "123456789012",
        "cluster": {"adopt": "theirs"},
        "network": {"adopt": {"vpc": "vpc-0123456789abcdef0", "subnets": {"us-east-1a": "subnet-0123456789abcdef0"}}},
    },
    "azure": {
        "kind": "azure",
        "region": "westeurope",
        "subscription": UUID,
        "tenant": UUID,
        "cluster": {"adopt": "theirs", "resourceGroup": "shared"},
    },
    "gcp": {"kind": "gcp", "project": "acme-llm-prod", "region": "europe-west4", "cluster": {"adopt": "theirs"}},
}
OWN = {
    "aws": ["key", "weights in the bucket"],
    "azure": ["registry, Standard", "weights in the storage account, LRS"],
    "gcp": ["key, its first version", "weights in the bucket"],
}


@pytest.mark.parametrize("place", SETTINGS)
def test_what_is_adopted_is_on_somebody_elses_bill_and_named(place: str) -> None:
    stands = KINDS[place].standing()
    assert stands is not None
    settings: Any = KINDS[place].settings().model_validate(SETTINGS[place])
    standing_parts = stands(settings, StandingFacts(environment="dev"))
    assert [item.what for item in standing_parts.items] == OWN[place]
    assert standing_parts.elsewhere[0].startswith("the adopted cluster")


@pytest.mark.parametrize("place", ["local", "existing"])
def test_a_place_that_makes_nothing_bills_nothing(place: str) -> None:
    assert KINDS[place].standing() is None


def test_an_unknown_price_is_no_zero_and_a_row_that_is_not_there_is_an_error() -> None:
    known, strange = lines(
        "aws", [Item(what="a", machine="m7i.large"), Item(what="b", machine="x9.large")], "us-east-1"
    )
    assert (known.floor, strange.floor, strange.ceiling) == (0.1008, None, None)
    (elsewhere,) = lines("aws", [Item(what="NAT", price="nat-gateway")], "eu-west-1")
    assert (elsewhere.floor, elsewhere.source) == (None, "unknown: not looked up in eu-west-1")
    with pytest.raises(KeyError):
        lines("aws", [Item(what="NAT", price="nat")], "us-east-1")


@pytest.mark.parametrize("place", SETTINGS)
def test_every_known_price_has_a_day_and_a_source(place: str) -> None:
    for name, row in prices(place).prices.items():
        if row.everywhere is not None or row.regions:
            assert row.read_on is not None, name
            assert row.source, name
    assert prices(place).machines.source


def test_a_price_without_a_source_and_a_type_without_a_row_are_refused() -> None:
    table = {"machines": {"readOn": "2026-11-28", "source": "x", "prices": {}}, "byUse": [], "resources": {}}
    Prices.model_validate({**table, "prices": {"nat": {}}})
    with pytest.raises(ValidationError, match="needs readOn and source"):
        Prices.model_validate({**table, "prices": {"nat": {"everywhere": 1}}})
    with pytest.raises(ValidationError, match="allowed: byUse, free"):
        Prices.model_validate({**table, "prices": {}, "resources": {"aws:x:Y": "nat"}})


def test_weights_are_counted_once_a_revision_and_those_without_a_size_are_named(tmp_path: Path) -> None:
    second = {
        "id": "test/eight", "revision": "0" * 40, "pool": "one", "max": 1, "maxTokens": 8192, "coldStart": "10m",
        "idleTtl": "20m", "weights": "15Gi",
    }  # fmt: skip
    twice = cost(stack(tmp_path, {"models.again": second}, weights="15Gi"))
    assert [line.least for line in twice.standing if line.what == "weights in the bucket"] == [15]
    unsized = cost(stack(tmp_path))
    assert "weights of eight, whose size the stack file does not give" in unsized.not_counted


def test_the_tables_hold_no_address_that_a_report_would_show() -> None:
    for place in SETTINGS:
        file = Path(__file__).parents[2] / "components" / "platforms" / place / "standing.yaml"
        assert "http" not in file.read_text(), "a report is one page that asks for nothing: no addresses to follow"
        assert set(yaml.safe_load(file.read_text())) == {"prices", "machines", "byUse", "resources"}
