"""What the recorder makes of values that exist only once a resource does."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pulumi
import pulumi_aws as aws
import pulumi_azure_native as azure
import pulumi_gcp as gcp
import pulumi_kubernetes as k8s
import pulumi_random as random
import pytest

from infra.recorder.recorder import Recording, TwoAlike, graph, text
from infra.recorder.run import record
from infra.recorder.unknown_outputs import NoSuchOutput

URN = "urn:pulumi:try::ebbtide::"


def recording_of(program: Callable[[], Any]) -> Recording:
    return record("try", {}, [], lambda: program() and None)


def data(program: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """The ``data`` of a ConfigMap that the program fills."""

    def run() -> None:
        k8s.core.v1.ConfigMap("seen", metadata={"name": "seen"}, data=program())

    recording = recording_of(run)
    (resource,) = [r for r in recording.records if r.name == "seen"]
    return dict(resource.inputs["data"])


def cluster() -> aws.eks.Cluster:
    return aws.eks.Cluster("c", role_arn="arn:aws:iam::1:role/r", vpc_config={"subnet_ids": ["subnet-1"]})


CLUSTER = f"{URN}aws:eks/cluster:Cluster::c"


def test_a_late_property_names_the_resource_it_comes_from_and_the_property_on_the_wire() -> None:
    late = data(lambda: {"endpoint": cluster().endpoint})
    assert late == {"endpoint": f"${{{CLUSTER}#endpoint}}"}


def test_what_lies_deep_in_a_late_property_has_its_whole_path() -> None:
    def program() -> dict[str, Any]:
        c = cluster()
        return {
            "ca": c.certificate_authority.data,
            "issuer": c.identities[0].oidcs[0].issuer,
            "security": c.vpc_config.cluster_security_group_id,
            "given": c.vpc_config.subnet_ids[0],
            "id": c.id,
        }

    assert data(program) == {
        "ca": f"${{{CLUSTER}#certificateAuthority.data}}",
        "issuer": f"${{{CLUSTER}#identities[0].oidcs[0].issuer}}",
        "security": f"${{{CLUSTER}#vpcConfig.clusterSecurityGroupId}}",
        "given": "subnet-1",
        "id": f"${{{CLUSTER}#id}}",
    }


def test_late_values_can_be_joined_formatted_and_written_into_json() -> None:
    def program() -> dict[str, Any]:
        c = cluster()
        return {
            "url": pulumi.Output.concat(c.endpoint, "/v1"),
            "format": pulumi.Output.format("{0}@{1}", c.name, c.arn),
            "json": pulumi.Output.json_dumps({"server": c.endpoint}),
            "all": pulumi.Output.all(c.endpoint, c.arn).apply(lambda both: " ".join(both)),
            "host": c.identities[0].oidcs[0].issuer.apply(lambda i: i.replace("https://", "")),
            "first": pulumi.Output.concat(c.endpoint, "/a/b").apply(lambda a: a.partition("/")[0]),
        }

    endpoint, arn = f"${{{CLUSTER}#endpoint}}", f"${{{CLUSTER}#arn}}"
    late = data(program)
    assert late["url"] == f"{endpoint}/v1"
    assert late["format"] == f"${{{CLUSTER}#name}}@{arn}"
    assert json.loads(late["json"]) == {"server": endpoint}
    assert late["all"] == f"{endpoint} {arn}"
    assert late["host"] == f"${{{CLUSTER}#identities[0].oidcs[0].issuer}}"
    assert late["first"] == endpoint, "a URN has slashes and colons; cutting at one must not cut it"


@pytest.mark.parametrize(
    "parse",
    [
        json.loads,
        lambda value: base64.b64decode(value).decode(),
        lambda value: value.split(":")[5],
        lambda value: str(int(value) + 1),
        lambda value: json.loads(value)["users"][0]["name"],
    ],
)
def test_code_that_takes_a_late_value_apart_gives_a_late_value_and_is_told_of(parse: Callable[[str], Any]) -> None:
    late: dict[str, Any] = {}

    def program() -> None:
        k8s.core.v1.ConfigMap("seen", metadata={"name": "seen"}, data={"it": cluster().arn.apply(parse)})

    recording = recording_of(program)
    late = recording.records[-1].inputs["data"]
    assert late == {"it": f"${{{CLUSTER}#arn}}"}
    assert len(recording.notes) == 1
    assert "on a late value" in recording.notes[0]


def test_an_error_without_a_late_value_is_an_error() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        data(lambda: {"it": pulumi.Output.from_input("x").apply(int)})


def test_a_property_that_the_sdk_does_not_have_is_an_error() -> None:
    with pytest.raises(NoSuchOutput, match="ClusterVpcConfig has no property cluster_security_grp"):
        data(lambda: {"it": cluster().vpc_config.cluster_security_grp})


def test_a_loop_over_a_late_list_runs_once() -> None:
    def program() -> dict[str, Any]:
        c = cluster()
        return {"all": c.identities.apply(lambda identities: ",".join(i.oidcs[0].issuer for i in identities))}

    assert data(program) == {"all": f"${{{CLUSTER}#identities[*].oidcs[0].issuer}}"}


def test_the_address_of_a_load_balancer_is_late() -> None:
    def program() -> dict[str, Any]:
        service = k8s.core.v1.Service("s", metadata={"name": "s"}, spec={"type": "LoadBalancer"})
        return {
            "host": service.status.load_balancer.ingress[0].hostname,
            "name": service.metadata.name,
            "space": service.metadata["namespace"],
        }

    source = f"{URN}kubernetes:core/v1:Service::s"
    assert data(program) == {
        "host": f"${{{source}#status.loadBalancer.ingress[0].hostname}}",
        "name": "s",
        "space": f"${{{source}#metadata.namespace}}",
    }


def test_functions_of_a_provider_give_late_values_in_both_their_forms() -> None:
    def program() -> dict[str, Any]:
        plain = aws.eks.get_cluster(name="mine")
        late = aws.eks.get_cluster_output(name=cluster().name)
        azures = azure.containerservice.list_managed_cluster_user_credentials_output(
            resource_group_name="g", resource_name="c"
        )
        google = gcp.container.get_cluster_output(name="g", location="europe-west4")
        return {
            "plain": plain.endpoint,
            "known": plain.name,
            "zone": aws.get_availability_zones(state="available").names[0],
            "nested": plain.certificate_authorities[0].data,
            "security": plain.vpc_config.cluster_security_group_id,
            "late": late.endpoint,
            "kubeconfig": azures.kubeconfigs[0].value.apply(lambda v: base64.b64decode(v).decode()),
            "ca": google.master_auths[0].cluster_ca_certificate,
        }

    mine, named = "${aws:eks/getCluster:getCluster(name=mine)", f"{CLUSTER}#name"
    google = "${gcp:container/getCluster:getCluster"
    listed = "azure-native:containerservice:listManagedClusterUserCredentials"
    assert data(program) == {
        "plain": f"{mine}#endpoint}}",
        "known": "mine",
        "zone": "${aws:index/getAvailabilityZones:getAvailabilityZones(state=available)#names[0]}",
        "nested": f"{mine}#certificateAuthorities[0].data}}",
        "security": f"{mine}#vpcConfig.clusterSecurityGroupId}}",
        "late": f"${{aws:eks/getCluster:getCluster(name={named})#endpoint}}",
        "kubeconfig": f"${{{listed}(resourceGroupName=g,resourceName=c)#kubeconfigs[0].value}}",
        "ca": f"{google}(location=europe-west4,name=g)#masterAuths[0].clusterCaCertificate}}",
    }


def test_a_secret_is_hidden_wherever_it_goes() -> None:
    def program() -> dict[str, Any]:
        password = random.RandomPassword("p", length=20)
        return {
            "password": password.result,
            "made": pulumi.Output.concat("sk-", password.result),
            "own": pulumi.Output.secret("in clear"),
            "json": pulumi.Output.json_dumps({"key": password.result}),
            "open": "x",
        }

    assert data(program) == {"open": "x"} | dict.fromkeys(("password", "made", "own", "json"), "[secret]")


def test_what_was_sent_as_a_secret_comes_back_as_one() -> None:
    def program() -> dict[str, Any]:
        secret = k8s.core.v1.Secret("s", metadata={"name": "s"}, string_data={"k": pulumi.Output.secret("in clear")})
        return {"copy": secret.string_data["k"]}

    assert data(program) == {"copy": "[secret]"}


def test_outputs_of_a_stack_made_elsewhere_are_late() -> None:
    late = data(lambda: {"it": pulumi.StackReference("org/base/prod").get_output("kubeconfig")})
    assert late == {"it": f"${{{URN}pulumi:pulumi:StackReference::org/base/prod#outputs.kubeconfig}}"}


def test_a_resource_that_is_only_read_says_so() -> None:
    recording = recording_of(lambda: aws.ec2.Vpc.get("v", "vpc-1"))
    (entry,) = graph(recording.records)
    assert entry["external"] is True
    assert entry["inputs"]["id"] == "vpc-1"


def test_two_resources_of_one_name_are_refused_as_by_an_engine() -> None:
    with pytest.raises(TwoAlike, match="two resources are called c"):
        recording_of(lambda: (cluster(), cluster()))


def test_two_runs_give_the_same_letters() -> None:
    def program() -> None:
        passwords = [random.RandomPassword(f"p{n}", length=9) for n in range(9)]
        for n, password in enumerate(passwords):
            k8s.core.v1.ConfigMap(
                f"m{n}",
                metadata={"name": password.id},
                opts=pulumi.ResourceOptions(depends_on=passwords[n:]),
            )

    assert text(graph(recording_of(program).records)) == text(graph(recording_of(program).records))


def test_resources_stand_after_their_parents_and_all_they_depend_on() -> None:
    class Part(pulumi.ComponentResource):
        def __init__(self, name: str, after: list[pulumi.Resource]) -> None:
            super().__init__("ebbtide:try:Part", name, None, pulumi.ResourceOptions(depends_on=after))
            self.made = random.RandomPassword(name, length=9, opts=pulumi.ResourceOptions(parent=self))

    def program() -> None:
        first = Part("a", [])
        Part("b", [first])

    records = recording_of(program).records
    assert [r.urn for r in records] == [
        f"{URN}ebbtide:try:Part::a",
        f"{URN}ebbtide:try:Part$random:index/randomPassword:RandomPassword::a",
        f"{URN}ebbtide:try:Part::b",
        f"{URN}ebbtide:try:Part$random:index/randomPassword:RandomPassword::b",
    ]
    assert records[2].depends_on == (records[1].urn,)
    assert records[1].parent == records[0].urn
