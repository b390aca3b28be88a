"""A stack's resources, built from its values once they were judged."""

from __future__ import annotations

from dataclasses import dataclass

import pulumi

from infra.planner.judgement import judge_with_records, reason_to_skip
from infra.program import platform as place
from infra.program.serving import Served, serve
from infra.stackfile.reading import Reading
from infra.stackfile.schema.stack import StackConfig
from infra.workspace import PROJECT


@dataclass(frozen=True)
class Built:
    """The stack that was built, and its outputs."""

    stack: StackConfig
    served: Served


def build(reading: Reading) -> Built:
    """Judge what was read, then build it. Raises ``ConfigError`` with all findings if any stops it: before anything is
    created."""
    judged = judge_with_records(reading, PROJECT / "stacks", skip_planner=reason_to_skip())
    loaded = judged.loaded()
    for warning in loaded.warnings:
        pulumi.log.warn(str(warning))
    facts = place.local_facts()
    platform = place.create(loaded.config)
    return Built(loaded.config, serve(loaded.config, platform, facts))
