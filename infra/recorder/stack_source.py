"""A stack file as an engine would pass it to the program."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.planner.judgement import judge_with_records, reason_to_skip
from infra.policies.inputs import HIDDEN
from infra.stackfile.cleartext_secrets import is_encrypted
from infra.stackfile.findings.finding import Finding
from infra.stackfile.findings.formatting import show
from infra.stackfile.findings.waivers import WAIVERS_FILE, usable_waivers
from infra.stackfile.load import read_file
from infra.stackfile.reading import Loaded
from infra.stackfile.yaml_source import read


class NoSuchStack(Exception):
    """Error for a stack without a file; the message names the stacks that have one."""


@dataclass(frozen=True)
class StackSource:
    """A judged stack file. ``config`` maps ``namespace:key`` to text; ``secret`` names keys with encrypted values;
    ``texts`` are secrets in clear that waivers allow, for redaction."""

    file: Path
    loaded: Loaded
    config: Mapping[str, str]
    secret: tuple[str, ...]
    texts: frozenset[str] = field(default=frozenset(), repr=False)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        return self.loaded.warnings


def stack_names(folder: Path) -> list[str]:
    """Return the names of the stacks that have a file."""
    return sorted(file.name[len("Pulumi.") : -len(".yaml")] for file in folder.glob("Pulumi.*.yaml"))


def stack_file(folder: Path, stack: str) -> Path:
    """Return the file of ``stack``. Raises ``NoSuchStack``."""
    names = stack_names(folder)
    if stack not in names:
        raise NoSuchStack(f"{show(stack)} is not a stack; allowed: {', '.join(names) or 'none is there'}")
    return folder / f"Pulumi.{stack}.yaml"


def read_stack(file: Path) -> StackSource:
    """Judge the file under this project's waivers, then return its values. Raises ``ConfigError`` with everything that
    stops it."""
    reading = read_file(file, usable_waivers(WAIVERS_FILE).waivers)
    loaded = judge_with_records(reading, file.parent, skip_planner=reason_to_skip()).loaded()
    config: dict[str, str] = {}
    secret: list[str] = []
    values: Mapping[str, Any] = read(file).value["config"]
    for key, value in values.items():
        if is_encrypted(value):
            secret.append(key)
            config[key] = HIDDEN
        elif value is not None:
            config[key] = value if isinstance(value, str) else json.dumps(value)
    return StackSource(file, loaded, config, tuple(secret), frozenset(reading.secrets.texts))
