"""True graphs of the shipped stacks and of the variants, each recorded once, and what the rules say of them."""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

from infra.planner.facts import presets
from infra.planner.judgement import Judgement, judge
from infra.policies.evaluate import Verdict, judge_all
from infra.policies.evaluate import judge as judge_rule
from infra.policies.model import graph_of
from infra.policies.rules import rules
from infra.policies.settings import settings_for
from infra.stackfile.load import read_values
from scripts.shape_graphs import Entry, files, recorded


@cache
def stacks() -> tuple[tuple[str, dict[str, Any]], ...]:
    """Name and sections of every shipped stack, then of every variant."""
    return tuple(files())


@cache
def _recorded(index: int) -> tuple[Entry, ...]:
    return tuple(recorded(*stacks()[index]))


def graph(index: int) -> list[Entry]:
    """A copy of a graph to break something in."""
    return copy.deepcopy(list(_recorded(index)))


@cache
def judged(index: int) -> Judgement:
    return judge(read_values(stacks()[index][1], "stacks/Pulumi.test.yaml"), presets.find)


def verdicts(index: int, entries: list[Entry]) -> list[Verdict]:
    """What the rules say of these resources beside the stack's own file."""
    environment = stacks()[index][1]["environment"]
    return judge_all(rules(), graph_of(entries, judged(index)), settings_for(environment))


def blocks(index: int, entries: list[Entry]) -> dict[str, list[str]]:
    """The mandatory rules that block, each with what it says, without what the stack file alone is told."""
    blocked: dict[str, list[str]] = {}
    for verdict in verdicts(index, entries):
        messages = [
            f"{v.at.rpartition('::')[2]} {v.path} {v.message}" for v in verdict.violations if "[EBB" not in v.message
        ]
        messages += [f"{n.at.rpartition('::')[2]} {n.path} {n.why}" for n in verdict.not_evaluated if n.broken]
        if messages and verdict.level == "mandatory":
            blocked[verdict.rule.id] = messages
    return blocked


def index_of(stack: str) -> int:
    """The place of a shipped stack."""
    return next(place for place, (name, _) in enumerate(stacks()) if name == stack)


def find(entries: list[Entry], kind: str, name: str = "") -> Entry:
    """The first resource whose type ends so and whose name has ``name`` in it."""
    return next(each for each in entries if each["type"].endswith(kind) and name in each["name"])


def beside(entries: list[Entry], kind: str, inputs: dict[str, Any], **more: Any) -> None:
    """Add a resource of the program's own."""
    stack = entries[0]["urn"].split("::")[0]
    entries.append({
        "urn": f"{stack}::ebbtide::{kind}::added", "type": kind, "name": "added", "parent": entries[0]["parent"],
        "custom": True, "inputs": inputs, "protect": False, "ignoreChanges": [], "dependsOn": [], "provider": "",
        **more,
    })  # fmt: skip


def kube(entries: list[Entry], kind: str, body: dict[str, Any], namespace: str = "ebbtide-models", **more: Any) -> None:
    """Add an object of Kubernetes."""
    version, _, name = kind.rpartition(":")
    metadata = {"name": "added", "namespace": namespace, **body.pop("metadata", {})}
    inputs = {"apiVersion": version.removeprefix("core/"), "kind": name, "metadata": metadata, **body}
    beside(entries, f"kubernetes:{kind}", inputs, **more)


def is_blocked(index: int, entries: list[Entry]) -> bool:
    """Whether any mandatory rule over the graph blocks: the quick ones first, and none after the first that does."""
    settings = settings_for(stacks()[index][1]["environment"])
    whole = graph_of(entries, judged(index))
    for each in sorted(rules(), key=lambda rule: rule.scope):
        if each.level(settings.environment) != "mandatory":
            continue
        verdict = judge_rule(each, whole, settings)
        if any("[EBB" not in v.message for v in verdict.violations) or any(n.broken for n in verdict.not_evaluated):
            return True
    return False
