"""The process that judges: it runs the base's code, and of the head it only reads data and starts the program."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path
from typing import Any

from components.catalog.machines import machines
from components.platforms.kinds import KINDS
from infra.config.cleartext import find_secrets
from infra.config.findings import ConfigError, Finding
from infra.config.limits import limits
from infra.config.load import NAMESPACE, load_file
from infra.config.waivers import Waivers, load_waivers
from infra.config.yaml_source import Unreadable, read
from infra.gate import render
from infra.gate.verdict import Side, judge
from infra.gate.verdict_checkout import changed_files, overlay
from infra.gate.verdict_isolated import Recorded, namespaces, record
from infra.gate.verdict_record import AS_DEPLOYED
from infra.local.plugins.clouds.facts import FOLDER, book
from infra.policies.cleartext import plain
from infra.policies.clouds import clouds
from infra.policies.rules import rule_ids, rules
from infra.policies.settings import settings_for
from infra.policies.stackfile import catalogue

JUDGES = (
    "infra/policies/", "infra/gate/", "infra/preflight/", "infra/config/limits", "infra/config/waiver",
    "components/catalog/", "waivers.yaml",
)  # fmt: skip
PROGRAM = ("infra/", "components/", "images/", "Pulumi.yaml", "pyproject.toml")


def main() -> None:
    """Arguments come as one JSON text; the report goes to the file they name, the verdict is the exit status."""
    told = json.loads(sys.argv[1])
    trusted, base, head, room = (Path(told[key]) for key in ("trusted", "base", "head", "room"))
    stack, day = str(told["stack"]), date.fromisoformat(told["today"])
    waivers = _look_first(trusted, day)
    findings = _findings(head, stack, waivers, day)
    notes = [*told["notes"], *_notes(base, head)]
    sides = _sides(told, trusted, base, head, room, stack)
    report = judge(
        stack,
        sides[0],
        sides[1],
        waivers,
        today=day,
        budget=told["budget"],
        findings=findings,
        notes=notes,
    )
    secrets = find_secrets(plain(sides[1].stack or {}))
    secrets.merge(find_secrets(plain(sides[0].stack or {})))
    Path(told["out"]).write_text(render.render(report, told["format"], secrets.texts), encoding="utf-8")
    sys.exit(1 if report.blocked_by else 0)


def _sides(told: Mapping[str, Any], trusted: Path, base: Path, head: Path, room: Path, stack: str) -> list[Side]:
    """Both programs run in folders of their own, from which what judges them is not to be seen."""

    def one(name: str, folder: Path) -> Side:
        values = stack_values(folder, stack)
        if values is None and not _file(folder, stack).exists():
            return Side(str(told[f"{name}Commit"]), None, Recorded([]))
        with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=told["runs"], ignore_cleanup_errors=True) as made:
            overlay(trusted, folder, Path(made) / "tree")
            more = (AS_DEPLOYED,) if name == "base" else ()
            recorded = record(Path(made) / "tree", stack, Path(made) / "room", room, *more)
        return Side(str(told[f"{name}Commit"]), values, recorded)

    if not namespaces():
        # one after the other: the head's program could else reach into the base's while that runs
        return [one("base", base), one("head", head)]
    with ThreadPoolExecutor(2) as both:
        return list(both.map(one, ("base", "head"), (base, head)))


def _look_first(trusted: Path, day: date) -> Waivers:
    """Read everything that a verdict rests on before anybody's program has run."""
    for read_it in (rules, clouds, catalogue, limits, lambda: settings_for("prod")):
        read_it()
    for package in FOLDER.glob("*.yaml"):
        book(package.stem)
    for place in KINDS:
        machines(place)
    return load_waivers(trusted / "waivers.yaml", day, rule_ids())


def _file(folder: Path, stack: str) -> Path:
    return folder / "stacks" / f"Pulumi.{stack}.yaml"


def stack_values(folder: Path, stack: str) -> dict[str, Any] | None:
    """The stack file's own sections as they stand there; None where it cannot be read."""
    try:
        config = read(_file(folder, stack)).value["config"]
    except (Unreadable, OSError, KeyError, TypeError):
        return None
    prefix = f"{NAMESPACE}:"
    items = config.items() if isinstance(config, Mapping) else ()
    return {str(key).removeprefix(prefix): value for key, value in items if str(key).startswith(prefix)}


def _findings(head: Path, stack: str, waivers: Waivers, day: date) -> list[Finding]:
    """What the base's own loader says of the head's stack file under the base's waivers, and of the waivers file that
    the head proposes."""
    found: list[Finding] = []
    if _file(head, stack).exists():
        try:
            found += load_file(_file(head, stack), waivers.waivers, day).warnings
        except ConfigError as refused:
            found += refused.findings
        except OSError:
            pass
    return [*found, *load_waivers(head / "waivers.yaml", day, rule_ids()).findings]


def _notes(base: Path, head: Path) -> Iterator[str]:
    files = changed_files(base, head)
    judges = [name for name in files if name.startswith(JUDGES)]
    if judges:
        yield f"this change edits what judges it, which counts only once it is merged: {_some(judges)}"
    program = [name for name in files if name.startswith(PROGRAM) and name not in judges]
    if program:
        yield f"this change edits the program itself; what a program says of itself is its own word: {_some(program)}"
    if not namespaces():
        yield "this machine cannot shut the program in (no namespaces): give this job no secret to take"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - 8} more" if len(names) > 8 else ""
    return ", ".join(names[:8]) + more


if __name__ == "__main__":
    main()
