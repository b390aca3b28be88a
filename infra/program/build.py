"""A stack's resources, built from its values once they were judged."""

from __future__ import annotations

import pulumi

from infra.planner.judgement import judge_with_records, reason_to_skip
from infra.program import platform as place
from infra.program.serving import Served, serve
from infra.stackfile.findings import waivers
from infra.stackfile.findings.waiver import Waiver
from infra.stackfile.reading import Reading
from infra.stackfile.schema.stack import StackConfig
from infra.workspace import PROJECT


def usable_waivers() -> tuple[Waiver, ...]:
    """Return the project's waivers that can be used; log what is wrong with the others. Raises ``ConfigError``."""
    loaded = waivers.usable_waivers()
    for finding in loaded.findings:
        pulumi.log.warn(str(finding))
    return loaded.waivers


def judged(reading: Reading) -> StackConfig:
    """Return the stack that may be built; creates nothing. Raises ``ConfigError`` with all findings if any stops it."""
    loaded = judge_with_records(reading, PROJECT / "stacks", skip_planner=reason_to_skip()).loaded()
    for warning in loaded.warnings:
        pulumi.log.warn(str(warning))
    place.inspect_machine(loaded.config, reading.file)
    return loaded.config


def build(stack: StackConfig) -> Served:
    """Build a judged stack."""
    facts = place.local_facts()
    return serve(stack, place.create(stack), facts)
