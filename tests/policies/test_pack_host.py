"""The pack as the process that an engine starts, asked over its own protocol by a stand-in for the engine.

``test_engine_pack`` has the real engine for what the lab's Kubernetes provider takes. Resources of clouds are shown to
the pack here, all rules alike: what the stand-in sends, the engine's analyzer protocol says (``analyzer.proto``).
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import json_format, struct_pb2
from pulumi.runtime.proto import analyzer_pb2, analyzer_pb2_grpc

from infra.policies.rules import rules
from tests.policies.mutations import MUTATIONS, Mutation
from tests.policies.stack import Entry, Stack

PACK = Path(__file__).resolve().parents[2] / "infra" / "policies"
MANDATORY = analyzer_pb2.MANDATORY
# the SDK's mark on a text that is not known during a preview; source: pulumi SDK, rpc.UNKNOWN
UNKNOWN = "04da6b54-80e4-46f7-96ec-b56ff0331ba9"


class Host:
    """What an engine asks of a pack during a preview."""

    def __init__(self, port: str) -> None:
        self._pack = analyzer_pb2_grpc.AnalyzerStub(grpc.insecure_channel(f"127.0.0.1:{port}"))

    def preview(self, stack: Stack) -> list[tuple[str, int, str]]:
        """Policy, level and message of each thing that the pack says, in the order of a preview."""
        config = {f"ebbtide:{key}": _told(value) for key, value in stack.config.items()}
        request = analyzer_pb2.AnalyzerStackConfigureRequest(stack="test", project="ebbtide", config=config)
        self._pack.ConfigureStack(request)
        diagnostics = []
        for entry in stack.resources:
            request = analyzer_pb2.AnalyzeRequest(
                type=entry["type"], urn=entry["urn"], name=entry["name"], properties=_struct(entry["inputs"]),
                options=_options(entry),
            )  # fmt: skip
            diagnostics += self._pack.Analyze(request).diagnostics
        resources = [
            analyzer_pb2.AnalyzerResource(
                type=entry["type"], urn=entry["urn"], name=entry["name"], properties=_struct(entry["inputs"]),
                options=_options(entry), parent=entry["parent"], dependencies=entry["dependsOn"],
            )
            for entry in stack.resources
        ]  # fmt: skip
        diagnostics += self._pack.AnalyzeStack(analyzer_pb2.AnalyzeStackRequest(resources=resources)).diagnostics
        return [(each.policyName, each.enforcementLevel, each.message) for each in diagnostics]


def _told(value: Any) -> str:
    """As an engine hands configuration over: texts as they are, all else as JSON."""
    return value if isinstance(value, str) else json.dumps(value)


def _struct(inputs: dict[str, Any]) -> struct_pb2.Struct:
    return json_format.ParseDict(inputs, struct_pb2.Struct())


def _options(entry: Entry) -> analyzer_pb2.AnalyzerResourceOptions:
    return analyzer_pb2.AnalyzerResourceOptions(
        protect=entry["protect"], ignoreChanges=entry["ignoreChanges"], parent=entry["parent"]
    )


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    """One pack for all previews: it starts in two seconds, and each preview tells it everything anew."""
    pack = subprocess.Popen([sys.executable, "-u", str(PACK)], stdout=subprocess.PIPE, text=True)
    assert pack.stdout is not None
    try:
        yield Host(pack.stdout.readline().strip())
    finally:
        pack.kill()
        pack.wait()


@pytest.mark.parametrize("environment", ["dev", "prod"])
def test_a_stack_that_keeps_the_rules_is_stopped_by_none(host: Host, environment: str) -> None:
    assert [each for each in host.preview(Stack(environment)) if each[1] == MANDATORY] == []


# a comparison with a base is the gate's alone: the engine shows a pack what will be, never what goes
SHOWN = tuple(m for m in MUTATIONS if m.rule != "deletion-approved")
FIRST = tuple(m for index, m in enumerate(SHOWN) if m.rule not in {other.rule for other in SHOWN[:index]})


@pytest.mark.parametrize("mutation", FIRST, ids=lambda m: m.rule)
def test_what_breaks_a_rule_stops_a_preview_by_that_rule_alone(host: Host, mutation: Mutation) -> None:
    stack = Stack(mutation.environment)
    mutation.apply(stack)
    diagnostics = host.preview(stack)
    assert {policy for policy, level, _ in diagnostics if level == MANDATORY} == {mutation.rule}
    assert not any("correct-horse" in message for _, _, message in diagnostics)


def test_every_mandatory_rule_but_the_one_over_changes_is_shown_to_stop_a_preview() -> None:
    mandatory = {rule.id for rule in rules() if "mandatory" in rule.levels.values() and rule.scope != "change"}
    assert {mutation.rule for mutation in FIRST} == mandatory


def test_a_value_that_is_not_known_is_told_as_not_evaluated_for_a_clouds_resources_too(host: Host) -> None:
    stack = Stack()
    stack.inputs("NodeGroup")["taints"] = UNKNOWN
    stack.inputs("cluster:Cluster")["vpcConfig"]["endpointPublicAccess"] = UNKNOWN
    diagnostics = {policy: (level, message) for policy, level, message in host.preview(stack)}
    for policy in ("gpu-taint", "private-api"):
        level, message = diagnostics[policy]
        assert level != MANDATORY
        assert "not evaluated" in message
