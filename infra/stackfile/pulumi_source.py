"""The stack's values as a running Pulumi program has them, ``pulumi config set --path`` and ``-c`` included."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pulumi
from pulumi.runtime import config as runtime_config

from infra.stackfile.findings.waiver import Waiver
from infra.stackfile.load import NAMESPACE, read_values
from infra.stackfile.reading import Reading
from infra.stackfile.schema.stack import SECTIONS

_TEXT_SECTIONS = frozenset({"environment"})


def read_pulumi(waivers: Sequence[Waiver] = ()) -> Reading:
    """Read the running stack's own values; findings name the file that the user would edit."""
    return read_values(_values(), f"stacks/Pulumi.{pulumi.get_stack()}.yaml", waivers)


def _values() -> dict[str, Any]:
    config = pulumi.Config(NAMESPACE)
    keys = {key.partition(":")[2] for key in _all_keys() if key.startswith(f"{NAMESPACE}:")}
    # pulumi.Config also reads the environment, where keys cannot be listed, so the known keys are read by name
    values = {name: config.get(name) for name in sorted(keys | set(SECTIONS))}
    return {name: _value(name, value) for name, value in values.items() if value is not None}


def _all_keys() -> list[str]:
    return [*runtime_config.CONFIG.get(), *runtime_config.get_config_env()]


def _value(name: str, value: Any) -> Any:
    """Return the typed value: Pulumi passes everything as text, lists and mappings as JSON."""
    if runtime_config.is_config_secret(f"{NAMESPACE}:{name}"):
        return {"secure": ""}  # already decrypted by Pulumi: not looked at
    if name in _TEXT_SECTIONS or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value
