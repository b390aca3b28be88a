"""The rules applied to a stack's actual state: ``python -m infra.gate.stack_state STACK EXPORT``, without an engine.

``pulumi policy analyze`` would do, but in 3.259 it passes a policy pack nothing of the stack's configuration, on which
the environment and half the rules depend. EXPORT is the output of ``pulumi stack export``, secrets encrypted.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from infra.gate.deployments import DEPLOYMENTS
from infra.gate.report.wording import without
from infra.planner.judgement import Judgement, judge_with_records
from infra.policies.evaluate import judge_all, waiver_for
from infra.policies.inputs import HIDDEN
from infra.policies.model import Graph, graph_of
from infra.policies.rules import rule_ids, rules
from infra.policies.settings import settings_for
from infra.recorder.stack_source import stack_file
from infra.stackfile.findings.waiver import Waiver
from infra.stackfile.findings.waivers import WAIVERS_FILE, load_waivers
from infra.stackfile.load import read_file
from infra.stackfile.reading import Reading
from infra.workspace import PROJECT

STACKS = PROJECT / "stacks"
# Pulumi's mark on a value that is not plain; source: pulumi SDK, resource/properties.go
_SIGNATURE = "4dabf18193072939515e22adb298388d"
# a provider's list of the inputs that it filled in; source: pulumi-terraform-bridge, pkg/tfbridge/schema.go
_DEFAULTS = "__defaults"


def main() -> int:
    """Return 0 if every mandatory rule holds or is waived; 1 if one does not, or could not read its input, or if there
    is nothing to judge."""
    stack, export = sys.argv[1], Path(sys.argv[2])
    today = date.today()
    known = load_waivers(WAIVERS_FILE, today, rule_ids()).waivers
    waivers = [waiver for waiver in known if waiver.in_force(today)]
    reading = read_file(stack_file(STACKS, stack), known, today)
    judgement = judge_with_records(reading, STACKS)
    broken = False
    for line, blocks in report(graph(json.loads(export.read_text(encoding="utf-8")), judgement), reading, waivers):
        print(without(line, ()))
        broken = broken or blocks
    return 1 if broken else 0


def graph(export: Mapping[str, Any], judgement: Judgement) -> Graph:
    """Build the graph of an export for the rules; resources that an interrupted run left to be deleted are left out."""
    resources = (export["deployment"] or {}).get("resources") or []
    return graph_of(
        [_entry(each) for each in resources if each["type"] != "pulumi:pulumi:Stack" and not each.get("delete")],
        judgement,
        completed=True,
    )


def _entry(each: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "urn": each["urn"],
        "type": each["type"],
        "name": str(each["urn"]).rpartition("::")[2],
        "parent": each.get("parent", ""),
        "inputs": _open(each.get("inputs") or {}),
        "protect": each.get("protect", False),
        "ignoreChanges": each.get("ignoreChanges", []),
        "dependsOn": each.get("dependencies", []),
        "external": each.get("external", False),
        "custom": each.get("custom", False),
    }


def _open(value: Any) -> Any:
    if isinstance(value, Mapping):
        shown = {key: _open(item) for key, item in value.items() if key != _DEFAULTS}
        return HIDDEN if _SIGNATURE in value else shown
    return [_open(item) for item in value] if isinstance(value, list) else value


def report(whole: Graph, reading: Reading, waivers: list[Waiver]) -> Iterator[tuple[str, bool]]:
    """Yield lines, each with True if it fails the run."""
    if not any(each.custom and not each.type.startswith("pulumi:providers:") for each in whole.resources):
        yield (
            "nothing was judged: the stack's state has no resource; fix: pulumi up, or take the stack out of "
            f"{DEPLOYMENTS}",
            True,
        )
        return
    verdicts = judge_all(
        (rule for rule in rules() if rule.scope != "change"),
        whole,
        settings_for(reading.environment or "prod"),
    )
    for verdict in verdicts:
        for violation in verdict.violations:
            state = verdict.level if waiver_for(verdict.rule, violation, waivers) is None else "waived"
            yield (
                f"{state}  {verdict.rule.id}  {violation.at} {violation.path} {violation.message}",
                state == "mandatory",
            )
        for gap in verdict.not_evaluated:
            yield (
                f"not evaluated  {verdict.rule.id}  {gap.at} {gap.path} {gap.why}",
                gap.broken and verdict.level == "mandatory",
            )
    passed = sum(verdict.state == "passed" for verdict in verdicts)
    yield f"{passed} of {len(verdicts)} rules passed over {len(whole.resources)} resources", False


if __name__ == "__main__":
    sys.exit(main())
