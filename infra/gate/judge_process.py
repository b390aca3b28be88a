"""Judging process: it runs the base's code; from the head it only reads data and starts the program."""

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
from components.typed.refusal import Problem
from components.typed.rules.stack import POOL_RENAMED
from infra.gate.checkout import changed_files, overlay
from infra.gate.record_process import AS_DEPLOYED
from infra.gate.replacement.tables import read_all as read_replacements
from infra.gate.report import document
from infra.gate.sandbox import Recorded, namespaces, record
from infra.gate.verdict import Side, judge
from infra.planner.facts import presets
from infra.planner.judgement import Judgement, judge_with_records
from infra.policies.clouds import clouds
from infra.policies.rules import rule_ids, rules
from infra.policies.settings import settings_for
from infra.stackfile.findings.finding import Finding
from infra.stackfile.findings.waivers import Waivers, load_waivers
from infra.stackfile.limits import limits
from infra.stackfile.load import finding_in, read_file
from infra.stackfile.reading import Reading
from infra.stackfile.schema.pool import PoolConfig

JUDGES = (
    "infra/policies/", "infra/gate/", "infra/planner/", "infra/recorder/", "infra/stackfile/", "components/catalog/",
    "components/typed/", "waivers.yaml",
)  # fmt: skip
PROGRAM = ("infra/", "components/", "images/", "Pulumi.yaml", "pyproject.toml")


def main() -> None:
    """Judge a change. Arguments are one JSON text; the report goes to the file they name, the verdict is the status."""
    told = json.loads(sys.argv[1])
    trusted, base, head, room = (Path(told[key]) for key in ("trusted", "base", "head", "room"))
    stack, day = str(told["stack"]), date.fromisoformat(told["today"])
    waivers = _look_first(trusted, day)
    judged = {name: _judged(folder, stack, waivers, day) for name, folder in (("base", base), ("head", head))}
    findings = load_waivers(head / "waivers.yaml", day, rule_ids()).findings
    notes = [*told["notes"], *_notes(base, head)]
    both = [each.reading for each in judged.values() if each is not None]
    renamed = renamed_pools(*both) if len(both) == 2 else []
    sides = _sides(told, trusted, base, head, room, stack, judged)
    report = judge(
        stack,
        sides[0],
        sides[1],
        waivers,
        today=day,
        budget=told["budget"],
        findings=[*findings, *renamed],
        notes=notes,
    )
    hidden = [text for each in judged.values() if each is not None for text in each.reading.secrets.texts]
    Path(told["out"]).write_text(document.render(report, told["format"], hidden), encoding="utf-8")
    sys.exit(1 if report.blocked_by else 0)


def _sides(
    told: Mapping[str, Any],
    trusted: Path,
    base: Path,
    head: Path,
    room: Path,
    stack: str,
    judged: Mapping[str, Judgement | None],
) -> list[Side]:
    """Record both programs, each in a folder of its own; where namespaces are available, they cannot see the judge."""

    def one(name: str, folder: Path) -> Side:
        if judged[name] is None:
            return Side(str(told[f"{name}Commit"]), None, Recorded([]))
        with tempfile.TemporaryDirectory(prefix=f"{name}-", dir=told["runs"], ignore_cleanup_errors=True) as made:
            overlay(trusted, folder, Path(made) / "tree")
            more = (AS_DEPLOYED,) if name == "base" else ()
            recorded = record(Path(made) / "tree", stack, Path(made) / "room", room, *more)
        return Side(str(told[f"{name}Commit"]), judged[name], recorded)

    if not namespaces():
        # one after the other: otherwise the head's program could reach into the base's while that runs
        return [one("base", base), one("head", head)]
    with ThreadPoolExecutor(2) as both:
        return list(both.map(one, ("base", "head"), (base, head)))


def _look_first(trusted: Path, day: date) -> Waivers:
    """Read everything that a verdict rests on before either program has run; return the waivers."""
    for read_it in (rules, clouds, presets.names, limits, read_replacements, lambda: settings_for("prod")):
        read_it()
    for place in KINDS:
        machines(place)
    return load_waivers(trusted / "waivers.yaml", day, rule_ids())


def _judged(folder: Path, stack: str, waivers: Waivers, day: date) -> Judgement | None:
    """Judge the checkout's stack file with this code, under the base's waivers; return None if there is none. Facts of
    models outside the catalogue come from the checkout."""
    file = folder / "stacks" / f"Pulumi.{stack}.yaml"
    if not file.exists():
        return None
    return judge_with_records(read_file(file, waivers.waivers, day), file.parent)


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


# Renamed pools: another name means another pool; its nodes are taken away, with what they serve, and new ones made.
#
# A stack file alone cannot show that; the gate has both the base's and the head's.


def renamed_pools(before: Reading, after: Reading) -> list[Finding]:
    """Return a finding in the head's stack file for each pool of the base that it has under another name."""
    if before.partial is None or after.partial is None:
        return []
    return [finding_in(after, problem) for problem in judge_renames(before.partial.pools, after.partial.pools)]


def judge_renames(before: Mapping[str, PoolConfig], after: Mapping[str, PoolConfig]) -> Iterator[Problem]:
    """Yield a problem for each new pool with the same machine, GPU, capacity, reservation, nodes and node labels as one
    that is gone."""
    gone = {name: _likeness(pool) for name, pool in before.items() if name not in after}
    for name, pool in after.items():
        old = next((o for o, likeness in gone.items() if likeness == _likeness(pool)), None)
        if name in before or old is None:
            continue
        del gone[old]
        yield POOL_RENAMED.at(
            ("pools", name),
            f"is pool {old} under another name: its nodes are taken away, with what they serve, and others made",
            allowed=f"{old}, or an approval of the replacement",
            fix=f"keep the name {old}; or add {name} first, move the models, and take {old} out in a later change",
        )


def _likeness(pool: PoolConfig) -> tuple[object, ...]:
    return pool.machine, pool.gpu, pool.capacity, pool.reservation, pool.nodes, tuple(sorted(pool.node_labels.items()))
