"""The program that ``pulumi up`` runs: read, judge, then build what was judged."""

from __future__ import annotations

import pulumi

from infra.planner.judgement import judge_with_records, reason_to_skip
from infra.program import platform as place
from infra.program.serving import serve
from infra.stackfile.findings.finding import ConfigError
from infra.stackfile.findings.waivers import WAIVERS_FILE, load_waivers
from infra.stackfile.pulumi_source import read_pulumi
from infra.workspace import PROJECT


def main() -> None:
    waivers = load_waivers(WAIVERS_FILE)
    for found in waivers.findings:
        pulumi.log.warn(str(found))
    reading = read_pulumi(waivers.waivers)
    judged = judge_with_records(reading, PROJECT / "stacks", skip_planner=reason_to_skip())
    try:
        loaded = judged.loaded()
    except ConfigError as refused:
        raise pulumi.RunError(str(refused)) from None
    for warning in loaded.warnings:
        pulumi.log.warn(str(warning))
    facts = place.local_facts()
    platform = place.create(loaded.config)
    served = serve(loaded.config, platform, facts)
    pulumi.export("endpoint", served.endpoint)
    pulumi.export("models", list(loaded.config.models))
    pulumi.export("api_keys", pulumi.Output.secret(served.api_keys))
    pulumi.export("images", served.images)


main()
