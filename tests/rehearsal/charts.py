"""Charts for a machine that reaches no chart repository: in place of the one that the program names, Pulumi's provider
installs a stand-in of the same version, whose only object holds the values that the stack gave."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pulumi

RELEASE = "kubernetes:helm.sh/v3:Release"
VALUES = """
apiVersion: v1
kind: ConfigMap
metadata:
  name: {{ .Release.Name }}-stand-in
data:
  values: {{ .Values | toJson | quote }}
"""


def stand_in(folder: Path, named: str, version: str) -> Path:
    """A chart of this version in ``folder`` that says which one it stands in for."""
    name = named.rpartition("/")[2]
    chart = folder / f"{name}-{version}"
    (chart / "templates").mkdir(parents=True, exist_ok=True)
    about = {"apiVersion": "v2", "name": name, "version": version, "description": f"stand-in for {named}"}
    (chart / "Chart.yaml").write_text(json.dumps(about))
    (chart / "templates" / "values.yaml").write_text(VALUES)
    return chart


def take_stand_ins(folder: Path) -> None:
    """From now on every release of the running program installs one; a release must name its chart's version."""

    def transformed(args: pulumi.ResourceTransformationArgs) -> pulumi.ResourceTransformationResult | None:
        if args.type_ != RELEASE:
            return None
        props: Any = args.props
        chart = stand_in(folder, props["chart"], props["version"])
        return pulumi.ResourceTransformationResult({**props, "chart": str(chart), "repository_opts": None}, args.opts)

    pulumi.runtime.register_stack_transformation(transformed)
