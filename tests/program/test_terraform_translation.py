"""A graph as Terraform's configuration: names and shapes come from the schema; what has no place there is refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scripts.terraform_provider.schema import Schema, camel, plural
from scripts.terraform_provider.terraform import NotHere, find
from scripts.terraform_provider.translation import CannotTranslate, Known, Translation

SOURCE = "registry.example.com/some/cloud"
TEXT, SET = {"type": "string", "optional": True}, {"type": "string", "computed": True}


def block(name: str, mode: str = "list", **attributes: Any) -> dict[str, Any]:
    return {name: {"nesting_mode": mode, "block": {"attributes": attributes}}}


def resource(*blocks: dict[str, Any], **attributes: Any) -> dict[str, Any]:
    types = {name: shape for each in blocks for name, shape in each.items()}
    return {"block": {"attributes": attributes, "block_types": types}}


SCHEMA = Schema.read({
    "provider_schemas": {
        SOURCE: {
            "provider": resource(
                block("default_tags", tags={"type": ["map", "string"], "optional": True}),
                region=TEXT,
                allowed_account_ids={"type": ["set", "string"], "optional": True},
            ),
            "resource_schemas": {
                "cloud_network": resource(id=SET, ip_range=TEXT, tags={"type": ["map", "string"], "optional": True}),
                "cloud_compute_group": resource(
                    block("size", least_count={"type": "number", "optional": True}),
                    block("policy", "set", rule=TEXT),
                    block("timeouts", "single", create=TEXT),
                    id=SET,
                    network_id=TEXT,
                    machine_types={"type": ["list", "string"], "optional": True},
                    members={"type": ["list", ["object", {"host_names": ["list", "string"]}]], "computed": True},
                    access={
                        "optional": True,
                        "nested_type": {"nesting_mode": "list", "attributes": {"role_arn": TEXT}},
                    },
                ),
                "cloud_compute_network": resource(id=SET),
                "cloud_key_alias": resource(name=TEXT),
            },
            "data_source_schemas": {"cloud_compute_group": resource(name=TEXT, latest_version=SET)},
        }
    }
})  # fmt: skip
NETWORK = "urn:pulumi:s::p::cloud:core/net:Network::net"
GROUP = "urn:pulumi:s::p::cloud:compute/group:Group::gpu.1"
KNOWN = Known(types={"cloud:core/net:Network": "cloud_network"})


def entry(urn: str, inputs: dict[str, Any], **more: Any) -> dict[str, Any]:
    kind, name = urn.split("::")[2:]
    return {
        "urn": urn, "type": kind, "name": name, "custom": True, "inputs": inputs, "ignoreChanges": [], "dependsOn": [],
        **more,
    }  # fmt: skip


def graph(inputs: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    settings = {"region": "r", "allowedAccountIds": '["1"]', "defaultTags": '{"tags": {"aB": "${x}"}}'}
    return [
        entry("urn:pulumi:s::p::pulumi:providers:cloud::own", settings),
        entry("urn:pulumi:s::p::kubernetes:core/v1:Pod::pod", {}),
        entry(NETWORK, {"ipRange": "10.0.0.0/8", "tags": {"aB": "c"}}),
        entry(GROUP, inputs, **more),
    ]


def translated(inputs: dict[str, Any], known: Known = KNOWN, **more: Any) -> dict[str, Any]:
    """What a group with these inputs becomes."""
    configuration = Translation(graph(inputs, **more), SCHEMA, known).configuration()
    return dict(configuration["resource"]["cloud_compute_group"]["gpu-1"])


def test_names_are_made_as_the_bridge_makes_them() -> None:
    assert [camel(name) for name in ("cidr_block", "enable_dns_support", "name")] == [
        "cidrBlock", "enableDnsSupport", "name",
    ]  # fmt: skip
    assert [plural(name) for name in ("rule", "policy", "key", "address")] == ["rules", "policies", "keys", "addresses"]


def test_only_what_the_provider_makes_is_in_the_configuration() -> None:
    configuration = Translation(graph({}), SCHEMA, KNOWN).configuration()
    assert configuration["resource"].keys() == {"cloud_network", "cloud_compute_group"}
    assert configuration["resource"]["cloud_network"] == {"net": {"ip_range": "10.0.0.0/8", "tags": {"aB": "c"}}}


def test_the_providers_own_settings_come_out_of_the_graph() -> None:
    provider = Translation(graph({}), SCHEMA, KNOWN).configuration()["provider"]["cloud"]
    assert provider == {"region": "r", "allowed_account_ids": ["1"], "default_tags": [{"tags": {"aB": "$${x}"}}]}


def test_one_object_becomes_a_list_where_the_schema_has_one_and_plurals_their_block() -> None:
    sent = {"size": {"leastCount": 1}, "policies": [{"rule": "a"}, {"rule": "b"}], "access": {"roleArn": "r"}}
    assert translated({**sent, "timeouts": {"create": "1h"}, "machineTypes": ["m"]}) == {
        "size": [{"least_count": 1}],
        "policy": [{"rule": "a"}, {"rule": "b"}],
        "access": [{"role_arn": "r"}],
        "timeouts": {"create": "1h"},
        "machine_types": ["m"],
    }


def test_references_become_terraforms_wherever_they_stand_in_a_text() -> None:
    text = f'{{"at": "${{{NETWORK}#id}}/*", "own": "${{aws:username}} %{{x}}"}}'
    assert translated({"networkId": text})["network_id"] == (
        '{"at": "${cloud_network.net.id}/*", "own": "$${aws:username} %%{x}"}'
    )


def test_a_path_into_an_output_takes_the_schemas_names_and_the_first_of_a_list() -> None:
    reader = entry(
        "urn:pulumi:s::p::cloud:core/net:Network::reader", {"ipRange": f"${{{GROUP}#members[1].hostNames[0]}}"}
    )
    size = entry("urn:pulumi:s::p::cloud:core/net:Network::size", {"ipRange": f"${{{GROUP}#size.leastCount}}"})
    networks = Translation([*graph({}), reader, size], SCHEMA, KNOWN).configuration()["resource"]["cloud_network"]
    assert networks["reader"]["ip_range"] == "${cloud_compute_group.gpu-1.members[1].host_names[0]}"
    assert networks["size"]["ip_range"] == "${cloud_compute_group.gpu-1.size[0].least_count}"


def test_what_a_function_of_the_provider_answers_is_read_from_its_data_source() -> None:
    text = "v${cloud:compute/getGroup:getGroup(name=theirs)#latestVersion}"
    configuration = Translation(graph({"networkId": text}), SCHEMA, KNOWN).configuration()
    assert configuration["data"] == {"cloud_compute_group": {"name-theirs": {"name": "theirs"}}}
    group = configuration["resource"]["cloud_compute_group"]["gpu-1"]
    assert group == {"network_id": "v${data.cloud_compute_group.name-theirs.latest_version}"}


def test_what_is_ignored_and_waited_for_is_so_in_terraform_too() -> None:
    pod = "urn:pulumi:s::p::kubernetes:core/v1:Pod::pod"
    assert translated({}, ignoreChanges=["size.leastCount", "networkId"], dependsOn=[NETWORK, pod]) == {
        "lifecycle": [{"ignore_changes": ["size[0].least_count", "network_id"]}],
        "depends_on": ["cloud_network.net"],
    }


def test_what_the_provider_does_not_take_yet_is_replaced_or_left_out_by_name() -> None:
    instead = {"cloud:compute/group:Group": {"networkId": "other", "newer": None, "machineTypes": ["m"]}}
    assert translated({"networkId": "n", "newer": [1]}, Known(KNOWN.types, instead)) == {"network_id": "other"}


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"netwrkId": "n"}, "netwrkId: the provider has no such property"),
        ({"size": {"leastCont": 1}}, "size.leastCont: the provider has no such property"),
        ({"id": "x"}, "id: the provider only reads this out"),
        ({"networkId": {"a": 1}}, "networkId: the provider has another shape there"),
        ({"size": 1}, "size: the provider has another shape there"),
        ({"networkId": f"${{{NETWORK}#idd}}"}, "the provider has no idd"),
        (
            {"networkId": "${cloud:core/getNet:getNet()#id}"},
            "refers to cloud:core/getNet:getNet(), which the provider does not make",
        ),
        ({"networkId": "[secret]"}, "networkId: is a secret"),
    ],
)
def test_what_has_no_place_in_the_schema_is_refused_with_its_place(inputs: dict[str, Any], message: str) -> None:
    with pytest.raises(CannotTranslate) as refused:
        translated(inputs)
    assert str(refused.value).startswith("cloud:compute/group:Group gpu.1: ")
    assert message in str(refused.value)


def test_a_type_that_the_provider_does_not_have_or_has_twice_is_refused() -> None:
    assert SCHEMA.type_of("cloud:key/alias:Alias") == "cloud_key_alias"
    for token in ("cloud:core/other:Other", "cloud:compute/network:Network"):
        with pytest.raises(CannotTranslate, match="the provider has no such type"):
            Translation([entry(f"urn:pulumi:s::p::{token}::n", {})], SCHEMA, KNOWN)


def test_two_of_one_type_and_name_are_refused_and_never_made_one() -> None:
    twice = [entry(f"urn:pulumi:s::p::cloud:core/net:Network::{name}", {}) for name in ("a.b", "a/b")]
    with pytest.raises(CannotTranslate, match="one name"):
        Translation(twice, SCHEMA, KNOWN)


def test_a_provider_is_found_by_source_and_version_or_named_with_what_to_do(tmp_path: Path) -> None:
    program = tmp_path / "some" / "terraform"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    plugin = tmp_path / SOURCE / "1.2.3" / "linux_amd64" / "terraform-provider-cloud_v1.2.3_x5"
    plugin.parent.mkdir(parents=True)
    plugin.touch()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(program.parent))
        assert find(SOURCE, "1.2.3", [tmp_path / "none", tmp_path]).provider == plugin.parent
        with pytest.raises(NotHere, match=r"has .*cloud/1.2.4; EBBTIDE_TERRAFORM_PLUGINS names one"):
            find(SOURCE, "1.2.4", [tmp_path])
        patch.setenv("PATH", str(tmp_path / "none"))
        with pytest.raises(NotHere, match="terraform is not in PATH"):
            find(SOURCE, "1.2.3", [tmp_path])
