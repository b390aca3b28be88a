"""Writer of the pipeline with the jobs of each stack: ``python3 -m recipes.gitlab.stacks deploy|preview|nightly``.

Which stacks, and in which order, stands in ``stacks/deployments.json``; what a job does, in ``stack.yml`` beside this.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from infra.gate.deployments import WrongDeployments, for_pipelines

_ROOT = Path(__file__).resolve().parents[2]
_KINDS = {"deploy": ("preview", "up"), "preview": ("preview",), "nightly": ("nightly",)}


def pipeline(stacks: list[dict[str, str]], what: str) -> dict[str, Any]:
    """Return the pipeline. Every job but `up` runs where the cloud may only be read."""
    document: dict[str, Any] = {"include": [{"local": "recipes/gitlab/stack.yml"}], "stages": list(_KINDS[what])}
    before: list[str] = []
    for each in stacks:
        name, cloud = each["stack"], each["cloud"]
        for kind in _KINDS[what]:
            job: dict[str, Any] = {"extends": f".{kind}", "stage": kind, "variables": {"STACK": name, "CLOUD": cloud}}
            job["environment"] = {"name": f"{name}-read", "action": "access"}
            if kind == "up":
                # a person starts it, with the preview to look at, once the stack before it is up; one at a time
                job |= {"when": "manual", "allow_failure": False, "resource_group": name, "environment": {"name": name}}
                job["needs"] = [f"preview {name}", *before]
                before = [f"up {name}"]
            document[f"{kind} {name}"] = job
    return document


if __name__ == "__main__":
    try:
        entries = for_pipelines(_ROOT)
    except WrongDeployments as problem:
        sys.exit(f"error: {problem}")
    json.dump(pipeline(entries, sys.argv[1]), sys.stdout, indent=1)  # which is YAML too
