"""Whether the planner's figures are those of starts that people published: ``python -m benchmarks.planner_logs``.

The cases are facts of such logs (``tests/fixtures/planner``): model, cards, settings, and what the engine reported.
Each is planned as a stack file of a place that is there already. The table goes to ``docs/results/planner-logs.md``.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from infra.planner.facts import model_source, presets
from infra.planner.facts.model_facts import ModelFacts
from infra.planner.judgement import Judgement, judge
from infra.planner.model_plan import ModelPlan
from infra.planner.plan import Plan
from infra.planner.sizing import fit
from infra.planner.sizing.memory import GIB
from infra.stackfile.load import read_file
from infra.workspace import PROJECT

CASES = PROJECT / "tests" / "fixtures" / "planner"
RESULTS = PROJECT / "docs" / "results" / "planner-logs.md"
BASE = PROJECT / "stacks" / "Pulumi.onprem.yaml"
_SHOWN_CODES = ("EBB025", "EBB026", "EBB069", "EBB262", "EBB267")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One case: the engine's words and the planner's. Sizes are GiB of one GPU."""

    name: str
    case: Mapping[str, Any]
    model: ModelPlan
    codes: tuple[str, ...]
    stops: bool

    @property
    def reported(self) -> Mapping[str, Any]:
        figures: Mapping[str, Any] = self.case["reported"]
        return figures

    @property
    def stopped(self) -> bool:
        """Return True if the engine did not come up in that run."""
        return "error" in str(self.reported.get("outcome", "")) or self.reported.get("kv_gib", 0) < 0

    @property
    def fits(self) -> bool:
        """Return True if the planner lets it be built."""
        plan, facts = self.model.memory, self.model.facts
        return plan is not None and facts is not None and fit.starts(facts, plan) and not self.stops

    @property
    def kv_gib(self) -> float:
        assert self.model.memory is not None
        return self.model.memory.kv_free / GIB

    @property
    def off(self) -> float | None:
        """Return the share by which the promised cache exceeds the one that was there; None where that is unknown."""
        there = self.reported.get("kv_gib")
        return None if there is None or there <= 0 else (self.kv_gib - there) / there


def cases() -> dict[str, Mapping[str, Any]]:
    """Return the cases by name."""
    read: dict[str, Mapping[str, Any]] = yaml.safe_load((CASES / "logs.yaml").read_text())
    return read


def facts_of(case: Mapping[str, Any]) -> ModelFacts:
    """Return the facts: of the case's own files, or of the preset."""
    if "dir" in case:
        return model_source.from_folder(CASES / "models" / case["dir"], case["model"])
    facts = presets.find(case["model"])
    assert facts is not None, case["model"]
    return facts


def sections(case: Mapping[str, Any], base: Path = BASE) -> dict[str, Any]:
    """Return the stack file that asks for what the case had."""
    config: dict[str, Any] = copy.deepcopy(yaml.safe_load(base.read_text())["config"])
    gpus = case.get("gpus", 1)
    (pool,) = config["ebbtide:pools"].values()
    named = {key: case[key] for key in ("product", "memory") if key in case}
    pool["gpu"] = {"count": gpus, **named}
    (name,) = config["ebbtide:models"]
    model = config["ebbtide:models"][name]
    model |= {
        "id": case["model"],
        "revision": case.get("revision", "0" * 40),
        "gpus": gpus,
        "maxTokens": case["tokens"],
        "maxSequences": case["sequences"],
        "gpuMemoryUtilization": case.get("util", 0.9),
        "extraArgs": list(case.get("args", ())),
    }
    if "dtype" in case:
        model["dtype"] = case["dtype"]
    config["ebbtide:guard"]["maxGpus"] = gpus
    return config


def judged(case: Mapping[str, Any]) -> Judgement:
    """Judge the case as every command does."""
    with tempfile.TemporaryDirectory(prefix="ebbtide-logs-") as folder:
        file = Path(folder) / "Pulumi.case.yaml"
        file.write_text(yaml.safe_dump({"config": sections(case)}))
        return judge(read_file(file), lambda _: facts_of(case))


def planned(case: Mapping[str, Any]) -> Plan:
    """Plan the case."""
    plan = judged(case).plan
    assert plan is not None
    return plan


def outcome(name: str, case: Mapping[str, Any]) -> Outcome:
    """Return what the planner says of one case."""
    judgement = judged(case)
    assert judgement.plan is not None
    about = [finding for finding in judgement.findings if finding.path.startswith("models.")]
    return Outcome(
        name=name,
        case=case,
        model=judgement.plan.models[0],
        codes=tuple(sorted({finding.code for finding in about})),
        stops=any(finding.stops for finding in about),
    )


def table(outcomes: Iterable[Outcome]) -> str:
    """Return the table, predicted beside reported."""
    lines = [
        "| case | KV cache, GiB: reported | planned | off | sequences: reported | planned | engine | plan | said |",
        "|---|---:|---:|---:|---:|---:|---|---|---|",
    ]
    for each in outcomes:
        plan, codes = each.model.memory, [code for code in each.codes if code in _SHOWN_CODES]
        assert plan is not None
        off = "" if each.off is None else f"{100 * each.off:+.1f} %"
        lines.append(
            f"| {each.name} | {each.reported.get('kv_gib', '')} | {each.kv_gib:.2f} | {off} | "
            f"{each.reported.get('conc', '')} | {plan.sequences:.2f} | {'stopped' if each.stopped else 'ran'} | "
            f"{'fits' if each.fits else 'does not fit'} | {', '.join(codes)} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Write the table."""
    outcomes = [outcome(name, case) for name, case in cases().items()]
    head = (
        "# The memory plan beside published start logs\n\nMade by `python -m benchmarks.planner_logs`; "
        "`tests/unit/test_planner_logs.py` holds each row to its limits. The cases and their sources are in\n"
        "`tests/fixtures/planner/logs.yaml`. Engines differ in version; the plan is that of the pinned one.\n\n"
    )
    RESULTS.write_text(f"{head}{table(outcomes)}\n")
    print(table(outcomes))


if __name__ == "__main__":
    main()
