"""AWS's graphs before AWS's own Terraform provider, which Pulumi's is a bridge over: it takes what every stack sends,
and against a simulated AWS (moto) it makes a production stack, finds it as it was asked for, and takes it away again.

Terraform and the provider come from no package registry, so these tests run where both are on the machine
(docs/decisions/0043). No call can reach a real AWS: every service is led to the simulated one, the keys are none, and
what would go elsewhere meets a proxy that is not there.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from lab.rehearsal.api import wait_for
from lab.rehearsal.process import Parts
from scripts.terraform_provider import page
from scripts.terraform_provider.page import KNOWN, table
from scripts.terraform_provider.schema import Schema
from scripts.terraform_provider.terraform import Message, NotHere, Programs, Terraform, find
from scripts.terraform_provider.translation import CannotTranslate, Translation
from tests.karpenter.simulated_aws import SimulatedAws, server
from tests.on_request import on_request
from tests.program.conftest import free_ports
from tests.program.recorded_manifests import graph

ANSWER_SECONDS = 300  # with the policies that AWS itself has, moto starts slowly
NOWHERE = "http://127.0.0.1:9"

# one worker: the production stack is made once
pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800), pytest.mark.xdist_group("aws-provider")]


@pytest.fixture(scope="module")
def programs() -> Programs:
    try:
        return find(table()["provider"], table()["version"])
    except NotHere as reason:
        pytest.skip(f"AWS's own provider is not asked: {reason}")


@pytest.fixture(scope="module")
def schema(programs: Programs, tmp_path_factory: pytest.TempPathFactory) -> Schema:
    return Schema.read(Terraform(tmp_path_factory.mktemp("schema"), programs, {}).schema())


@dataclass(frozen=True)
class Life:
    """One stack's whole life: Terraform's words of each step, and the VPCs that were there after two of them.
    ``addresses``: of all that is made; what the simulated AWS does not serve is not among it."""

    addresses: dict[str, str]
    applied: list[Message]
    networks: list[str]
    again: list[Message]
    destroyed: list[Message]
    left: list[str]
    networks_left: list[str]


@pytest.fixture(scope="module")
def aws(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatedAws]:
    root = tmp_path_factory.mktemp("aws")
    parts, (port,) = Parts(root, root), free_ports(1)
    simulated = SimulatedAws(f"http://127.0.0.1:{port}", "us-east-1")
    parts.start(server(port, managed_policies=True))
    try:
        wait_for(simulated.answers, "the simulated AWS to answer", ANSWER_SECONDS, parts.refuse_dead)
        yield simulated
    finally:
        parts.end_all()


@pytest.fixture(scope="module")
def life(programs: Programs, schema: Schema, aws: SimulatedAws, tmp_path_factory: pytest.TempPathFactory) -> Life:
    environment = {
        "AWS_ENDPOINT_URL": aws.url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_EC2_METADATA_DISABLED": "true",
        "HTTP_PROXY": NOWHERE,
        "HTTPS_PROXY": NOWHERE,
        "NO_PROXY": "127.0.0.1",
    }
    translation = Translation(graph(table()["applied"], tmp_path_factory), schema, KNOWN)
    configuration = translation.configuration()
    configuration["provider"]["aws"]["s3_use_path_style"] = True  # the simulated one has one name for all buckets
    addresses = translation.addresses()
    assert len(addresses) == 96
    left_out = {address for address, kind in addresses.items() if kind in table()["notSimulated"]}
    without(configuration["resource"], left_out)
    terraform = Terraform(tmp_path_factory.mktemp("terraform"), programs, environment)
    terraform.write(configuration)
    applied = terraform.apply()
    networks = aws.networks()
    again = terraform.plan()
    destroyed = terraform.destroy()
    kinds = {address: kind for address, kind in addresses.items() if address not in left_out}
    return Life(kinds, applied, networks, again, destroyed, terraform.left(), aws.networks())


def without(resources: dict[str, Any], left_out: set[str]) -> None:
    """Take resources out, and the order that others have after them."""
    for address in left_out:
        kind, _, label = address.partition(".")
        del resources[kind][label]
        if not resources[kind]:
            del resources[kind]
    for named in resources.values():
        for resource in named.values():
            needs = [each for each in resource.pop("depends_on", ()) if each not in left_out]
            resource |= {"depends_on": needs} if needs else {}


@on_request
def test_the_provider_makes_every_resource_of_a_production_stack(life: Life) -> None:
    assert [each.error for each in life.applied if each.error] == []
    assert {each.address for each in life.applied if each.action == "create"} == life.addresses.keys()
    assert life.networks == ["10.40.0.0/16"]


@on_request
def test_read_back_a_production_stack_is_what_was_asked_for(life: Life) -> None:
    differs = {(life.addresses[each.address], each.action) for each in life.again}
    assert differs == {(kind, difference["change"]) for kind, difference in table()["readBack"].items()}, life.again


@on_request
def test_nothing_of_a_production_stack_is_left_after_its_end(life: Life) -> None:
    assert [each.error for each in life.destroyed if each.error] == []
    assert {each.address for each in life.destroyed} == life.addresses.keys()
    assert life.left == []
    assert life.networks_left == []


@pytest.fixture(scope="module")
def graphs() -> list[tuple[str, list[dict[str, Any]]]]:
    """The AWS graphs of the shipped stacks and their variants."""
    return list(page.graphs())


def judged(programs: Programs, folder: Path, configuration: dict[str, Any]) -> list[str]:
    terraform = Terraform(folder, programs, {})
    terraform.write(configuration)
    return terraform.problems()


def test_the_provider_takes_every_property_that_any_stack_sends(
    programs: Programs, schema: Schema, graphs: list[tuple[str, list[dict[str, Any]]]], tmp_path: Path
) -> None:
    translations = [Translation(graph_read, schema, KNOWN) for _, graph_read in graphs]
    for number, translation in enumerate(translations):
        folder = tmp_path / str(number)
        folder.mkdir()
        assert judged(programs, folder, translation.configuration()) == [], graphs[number][0]
    assert page.FILE.read_text() == page.text(translations), "run: python -m scripts.terraform_provider.page"


Mistake = Callable[[dict[str, Any]], None]


def _range(resources: dict[str, Any]) -> None:
    next(iter(resources["aws_vpc"].values()))["cidr_block"] = "10.40.0.0/33"


def _rights(resources: dict[str, Any]) -> None:
    next(iter(resources["aws_iam_role_policy"].values()))["policy"] = '{"Statement": ['


def _word(resources: dict[str, Any]) -> None:
    next(iter(resources["aws_s3_bucket_ownership_controls"].values()))["rule"][0]["object_ownership"] = "Owner"


def test_a_mistake_is_refused(
    programs: Programs, schema: Schema, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    recorded = graph(table()["applied"], tmp_path_factory)
    wrong = copy.deepcopy(recorded)
    network = next(each for each in wrong if each["type"] == "aws:ec2/vpc:Vpc")
    network["inputs"]["cidrBlok"] = network["inputs"].pop("cidrBlock")
    with pytest.raises(CannotTranslate, match="cidrBlok: the provider has no such property"):
        Translation(wrong, schema, KNOWN).configuration()
    configuration = Translation(recorded, schema, KNOWN).configuration()
    # none of the three stands before another's: what needs a resource that is refused is not judged
    for mistake in (_range, _rights, _word):
        mistake(configuration["resource"])
    refusals = judged(programs, tmp_path, configuration)
    expected = {"aws_vpc": "invalid CIDR", "aws_iam_role_policy": "invalid JSON", "aws_s3_bucket_ownership": "Owner"}
    for place, words in expected.items():
        assert any(each.startswith(place) and words in each for each in refusals), refusals
