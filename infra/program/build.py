"""A stack's resources, built from its values once they were judged."""

from __future__ import annotations

import pulumi

from infra.planner.judgement import judge_with_records, reason_to_skip
from infra.planner.plan import Plan
from infra.program import platform as place
from infra.program.serving import Served, serve, wake_estimates
from infra.stackfile.findings import waivers
from infra.stackfile.findings.waiver import Waiver
from infra.stackfile.reading import Reading
from infra.workspace import PROJECT


def usable_waivers() -> tuple[Waiver, ...]:
    """Return the project's waivers that can be used; log what is wrong with the others. Raises ``ConfigError``."""
    loaded = waivers.usable_waivers()
    for finding in loaded.findings:
        pulumi.log.warn(str(finding))
    return loaded.waivers


def judged(reading: Reading) -> Plan:
    """Return the plan of a stack that may be built; creates nothing. Raises ``ConfigError`` with all findings if any
    stops it."""
    judgement = judge_with_records(reading, PROJECT / "stacks", skip_planner=reason_to_skip())
    plan = judgement.to_build()
    for warning in judgement.findings:
        pulumi.log.warn(str(warning))
    place.inspect_machine(plan.stack, reading.file)
    return plan


def build(plan: Plan) -> Served:
    """Build a judged stack."""
    facts = place.local_facts()
    return serve(plan.stack, place.create(plan.stack), facts, wake_estimates(plan))
