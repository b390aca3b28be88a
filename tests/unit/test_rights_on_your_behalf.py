"""The rights that a cloud checks with the deployer's identity beside those of the calls themselves, against the rights
that the pages ask for."""

from __future__ import annotations

import json
import re
from fnmatch import fnmatchcase
from typing import Any

import pytest
import yaml

from infra.policies.shapes import FILE
from infra.workspace import PROJECT

CLOUDS = PROJECT / "docs" / "clouds"
BEHALF: dict[str, Any] = yaml.safe_load((CLOUDS / "rights-on-your-behalf.yaml").read_text())
MADE = set(yaml.safe_load(FILE.read_text())["types"])


def _as_list(value: Any) -> list[str]:
    return value if isinstance(value, list) else [value]


def _aws_allows(action: str, resource: str) -> bool:
    statements = json.loads((CLOUDS / "aws-deployer-policy.json").read_text())["Statement"]
    return any(
        any(fnmatchcase(action, known) for known in _as_list(one["Action"]))
        and any(fnmatchcase(resource, known) for known in _as_list(one["Resource"]))
        for one in statements
    )


@pytest.mark.parametrize("kind", BEHALF["aws"])
def test_on_aws_the_deployer_has_what_a_service_asks_with_its_identity(kind: str) -> None:
    rows = BEHALF["aws"][kind].items()
    assert [(action, on) for action, on in rows if not _aws_allows(action, on)] == []


@pytest.mark.parametrize("kind", BEHALF["azure"])
def test_on_azure_the_deployer_may_ask_how_far_an_operation_is(kind: str) -> None:
    known = set(json.loads((CLOUDS / "azure-deployer-role.json").read_text())["Actions"])
    assert set(BEHALF["azure"][kind]) - known == set()


@pytest.mark.parametrize("kind", BEHALF["gcp"])
def test_on_google_cloud_the_deployer_has_what_a_service_asks_with_its_identity(kind: str) -> None:
    known = set(yaml.safe_load((CLOUDS / "gcp-deployer-role.yaml").read_text())["includedPermissions"])
    assert set(BEHALF["gcp"][kind]) - known == set()


def test_every_row_is_of_a_type_that_is_made_and_every_type_of_azure_has_one() -> None:
    rows = {kind for cloud in ("aws", "azure", "gcp") for kind in BEHALF[cloud]}
    assert rows - MADE == set()
    assert {kind for kind in MADE if re.match("azure-native:[a-z]", kind)} - set(BEHALF["azure"]) == set()
