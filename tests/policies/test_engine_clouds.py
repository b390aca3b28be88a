"""The real engine with the real pack over resources of a cloud, whose stand-in takes them: what a rule over those
forbids stops the preview. ``test_engine_pack.py`` has the rules that Kubernetes objects or the stack file can break."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.policies.rules import rules
from tests.policies.mutations import MUTATIONS, Mutation
from tests.policies.stack import Entry, Stack
from tests.policies.test_engine_pack import NEED_A_CLOUD, PACK
from tests.rehearsal.stage import Stage

pytestmark = pytest.mark.engine
ROLE = "arn:aws:iam::123456789012:role/ebbtide"
SSE = "aws:s3/bucketServerSideEncryptionConfiguration:BucketServerSideEncryptionConfiguration"
PROGRAM = """
import json
import pulumi_random
late = pulumi_random.RandomPassword("late", length=8)
providers = {{
    "aws": pulumi.ProviderResource("aws", "aws", {{"region": "us-east-1", "allowedAccountIds": ["123456789012"]}}),
    "kubernetes": pulumi.ProviderResource("kubernetes", "cluster", {{"kubeconfig": late.result}}),
    "docker-build": pulumi.ProviderResource("docker-build", "images", {{}}),
    "gcp": pulumi.ProviderResource("gcp", "gcp", {{"project": "ebbtide-rehearsal", "region": "europe-west4"}}),
}}
made = {{}}
for entry in json.loads({text!r}):
    # the component is what a URN on the way says: ...::component$type::name
    component = entry["urn"].split("::")[2].rpartition("$")[0]
    parent = pulumi.ComponentResource(component, entry["name"]) if component else None
    options = pulumi.ResourceOptions(
        provider=providers[entry["type"].partition(":")[0]], protect=entry["protect"], parent=parent,
        ignore_changes=entry["ignoreChanges"], depends_on=[made[urn] for urn in entry["dependsOn"]],
    )
    made[entry["urn"]] = pulumi.CustomResource(entry["type"], entry["name"], entry["inputs"], options)
"""
# What the cloud's provider insists on and no rule looks at; the stack of the tests is smaller than one that runs.
REQUIRED = {
    "aws:eks/cluster:Cluster": {"roleArn": ROLE, "vpcConfig": {"subnetIds": ["subnet-1", "subnet-2"]}},
    "aws:eks/nodeGroup:NodeGroup": {"clusterName": "cluster", "nodeRoleArn": ROLE, "subnetIds": ["subnet-1"]},
    "aws:s3/bucketPublicAccessBlock:BucketPublicAccessBlock": {"bucket": "models-1"},
    SSE: {"bucket": "models-1"},
}  # fmt: skip
FIRST: dict[str, Mutation] = {}
for each in MUTATIONS:
    FIRST.setdefault(each.rule, each)


def shown(stage: Stage, stack: Stack) -> tuple[int, str, set[str]]:
    """A preview of the whole stack under the pack: status, output, and the rules that stopped it."""
    file = stage.root / "Pulumi.test.yaml"
    settings = yaml.safe_load(file.read_text()) if file.exists() else {}
    settings["config"] = {f"ebbtide:{key}": value for key, value in stack.config.items()}
    file.write_text(yaml.safe_dump(settings))
    entries = [{**entry, "inputs": complete(entry)} for entry in stack.resources]
    (stage.root / "program" / "Dockerfile").write_text("FROM scratch\n")
    stage.program(PROGRAM.format(text=json.dumps(entries)))
    process = stage.start("preview", "--stack=test", PACK)
    output, _ = process.communicate(timeout=180)
    return process.returncode, output, set(re.findall(r"\[mandatory\] +([a-z-]+)", output))


def complete(entry: Entry) -> dict[str, Any]:
    """The inputs with what is required besides; what the stack says itself stays as it is."""
    inputs: dict[str, Any] = dict(entry["inputs"])
    for key, value in REQUIRED.get(entry["type"], {}).items():
        inputs[key] = {**value, **inputs.get(key, {})} if isinstance(value, dict) else value
    return inputs


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    return Stage(tmp_path)


def test_a_stack_with_its_cloud_that_keeps_the_rules_may_be_previewed(stage: Stage) -> None:
    code, output, stopped = shown(stage, Stack())
    assert (code, stopped) == (0, set()), output


# without a taint there is nothing that a pod would have to tolerate
@pytest.mark.parametrize(
    "broken", [NEED_A_CLOUD - {"gpu-taint"}, frozenset({"gpu-taint"})], ids=["all others", "taint"]
)
def test_a_preview_is_stopped_by_each_rule_that_resources_of_a_cloud_break(stage: Stage, broken: set[str]) -> None:
    stack = Stack()
    for rule in sorted(broken):
        assert FIRST[rule].environment == "prod"
        FIRST[rule].apply(stack)
    code, output, stopped = shown(stage, stack)
    assert code != 0, output
    assert stopped == broken, output


def test_every_rule_but_the_gates_own_stops_a_preview_of_the_real_engine() -> None:
    shown_here = NEED_A_CLOUD | {rule for rule in FIRST if rule not in NEED_A_CLOUD} - {"deletion-approved"}
    engines = {rule.id for rule in rules() if rule.scope != "change"}
    assert shown_here == engines
    assert len(engines) == 34
