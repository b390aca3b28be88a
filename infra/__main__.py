"""The program that ``pulumi up`` runs: it reads and judges the stack's values, then builds the stack."""

from __future__ import annotations

import pulumi

from infra.program.build import build, judged, usable_waivers
from infra.stackfile.findings.finding import ConfigError
from infra.stackfile.pulumi_source import read_pulumi


def main() -> None:
    try:
        plan = judged(read_pulumi(usable_waivers()))
    except ConfigError as refused:
        raise pulumi.RunError(str(refused)) from None
    served = build(plan)
    pulumi.export("endpoint", served.endpoint)
    pulumi.export("models", list(plan.stack.models))
    pulumi.export("api_keys", pulumi.Output.secret(served.api_keys))
    pulumi.export("images", served.images)


main()
