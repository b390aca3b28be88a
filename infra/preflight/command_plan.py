"""``ebbtide plan``: what a person or a pipeline types.

Exit status: 0 clean or warnings only, 1 errors, 2 wrong usage.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from infra.config.findings import ConfigError, Finding, show
from infra.config.load import finding, load_file
from infra.config.stack import StackConfig
from infra.config.waivers import WAIVERS_FILE, load_waivers
from infra.local.paths import PROJECT
from infra.preflight import plan_against, plan_measured, presets
from infra.preflight.model_facts import ModelFacts
from infra.preflight.plan import Plan, plan_stack
from infra.preflight.plan_graph import Graph, NoGraph, graph_of
from infra.preflight.plan_sound import sound_part
from infra.preflight.report_document import Document, document

STACKS = PROJECT / "stacks"
CLEAN, ERRORS, USAGE = 0, 1, 2


class WrongUsage(Exception):
    """The command cannot be understood as typed; the text says what is allowed."""


@dataclass(frozen=True)
class Wish:
    """What was typed."""

    stack: str
    config_file: str | None = None
    against: str | None = None
    format: str = "text"
    out: str | None = None
    measured: str | None = None
    model_dirs: tuple[str, ...] = ()
    hub: bool = False
    with_graph: bool = True


@dataclass
class Facts:
    """What is known of the models: folders somebody named, presets, and the hub where that is asked for. ``notes`` are
    what went wrong on the way."""

    folders: Mapping[str, str] = field(default_factory=dict)
    hub: bool = False
    revisions: Mapping[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def __call__(self, model_id: str) -> ModelFacts | None:
        folder = self.folders.get(model_id)
        if folder is None and not self.hub:
            return presets.find(model_id)
        # the hub's client takes a third of a second to import
        from infra.preflight import model_source

        try:
            if folder is not None:
                return model_source.resolve(folder)
            token = os.environ.get("HF_TOKEN")
            return model_source.resolve(model_id, ask_hub=True, revision=self.revisions.get(model_id), token=token)
        except (ValueError, OSError, TypeError, OverflowError) as error:
            told = isinstance(error, (ValueError, OSError))
            self.notes.append(str(error) if told else f"{folder or model_id}: its config.json is no model's")
            return presets.find(model_id) if folder is None else None


def run(wish: Wish) -> int:
    """Print the plan, or write it to ``--out``; gives the exit status."""
    try:
        made = planned(wish)
        _put(made, wish)
    except WrongUsage as wrong:
        print(f"error: {wrong}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has seen enough
    return ERRORS if made["verdict"] == "errors" else CLEAN


def planned(wish: Wish) -> Document:
    """The plan as data. Raises ``WrongUsage``."""
    file = _file(wish)
    try:
        measured = plan_measured.read(Path(wish.measured)) if wish.measured else {}
    except plan_measured.BadMeasurement as bad:
        raise WrongUsage(f"--measured: {bad}") from bad
    made, kind = _planned(file, wish, measured)
    if wish.with_graph and kind is not None:
        made = _with_graph(made, file, wish.stack, kind)
    if wish.against is not None:
        try:
            text, name = plan_against.other_text(wish.against, wish.stack)
        except plan_against.NoSuchReference as missing:
            raise WrongUsage(str(missing)) from missing
        with tempfile.TemporaryDirectory(prefix="ebbtide-plan-") as folder:
            other = Path(folder) / f"Pulumi.{wish.stack}.yaml"
            other.write_text(text)
            before, _ = _planned(other, wish, measured)
        made["changes"], made["against"] = plan_against.changes(before, made), name
        stopped = sum(1 for each in before["findings"] if each["severity"] != "warning")
        if stopped:
            made["notes"].append(f"{name} has {stopped} findings that stop it: only its sound parts are compared")
    return made


def _planned(file: Path, wish: Wish, measured: Mapping[str, Mapping[str, float]]) -> tuple[Document, str | None]:
    """Without the graph, and the kind of place where a graph could be had."""
    findings: tuple[Finding, ...]
    config: StackConfig | None
    waivers = load_waivers(WAIVERS_FILE)
    try:
        loaded = load_file(file, waivers.waivers)
        config, findings, refused = loaded.config, loaded.warnings, False
    except ConfigError as error:
        config, findings, refused = sound_part(file), error.findings, True
    facts = Facts(_folders(wish.model_dirs), wish.hub)
    plan: Plan | None = None
    if config is not None:
        facts.revisions = {model.id: model.revision for model in config.models.values()}
        facts.folders = _by_id(facts.folders, config)
        plan = plan_stack(config, facts, measured)
    named = f"{file.parent.name}/{file.name}"
    own = [finding(problem, named, waivers.waivers) for problem in plan.problems] if plan else []
    made = document(wish.stack, named, _merged(findings, own), plan, None, [*map(str, waivers.findings), *facts.notes])
    if refused and plan is not None:
        made["notes"].append("the stack file is refused: only what is sound in it is planned")
    return made, config.platform.kind if config is not None and not refused else None


def _with_graph(made: Document, file: Path, stack: str, kind: str) -> Document:
    try:
        graph: Graph = graph_of(file, stack, kind)
    except NoGraph as missing:
        note = f"the resources were not counted: {missing}"
        return {**made, "notes": [*made["notes"], note]}
    counted = {"resources": graph.total, "components": graph.components, "by_type": dict(graph.by_type)}
    return {**made, "graph": counted}


def _merged(first: Iterable[Finding], then: Iterable[Finding]) -> list[Finding]:
    """One finding a rule and place: the stack file's own rules may have said it already."""
    found = {(each.code, each.path, each.message): each for each in first}
    said = {(code, path) for code, path, _ in found}
    return [*found.values(), *(each for each in then if (each.code, each.path) not in said)]


def _file(wish: Wish) -> Path:
    if wish.config_file is not None:
        file = Path(wish.config_file)
        if not file.is_file():
            raise WrongUsage(f"--config-file: {show(wish.config_file)} is not a file; allowed: a stack file")
        return file
    names = sorted(file.name[len("Pulumi.") : -len(".yaml")] for file in STACKS.glob("Pulumi.*.yaml"))
    if wish.stack not in names:
        import difflib

        near = difflib.get_close_matches(wish.stack, names, n=1, cutoff=0.5)
        meant = f"; fix: did you mean {near[0]}?" if near else ""
        raise WrongUsage(f"{show(wish.stack)} is not a stack; allowed: {', '.join(names) or 'none is there'}{meant}")
    return STACKS / f"Pulumi.{wish.stack}.yaml"


def _folders(given: Iterable[str]) -> dict[str, str]:
    """``NAME=FOLDER`` pairs."""
    found: dict[str, str] = {}
    for pair in given:
        name, sign, folder = pair.partition("=")
        if not (name and sign and folder):
            raise WrongUsage(
                f"--model-dir: {show(pair)} is not NAME=FOLDER; allowed: a model's name or id, = and a path"
            )
        if not Path(folder).expanduser().exists():
            raise WrongUsage(
                f"--model-dir: {show(folder)} is not there; allowed: a folder with config.json, or an archive"
            )
        found[name] = folder
    return found


def _by_id(folders: Mapping[str, str], config: StackConfig) -> dict[str, str]:
    """A model's name in the stack counts as its id."""
    ids = {name: model.id for name, model in config.models.items()}
    strange = [name for name in folders if name not in ids and name not in ids.values()]
    if strange:
        allowed = ", ".join(ids) or "none: the stack has no model"
        raise WrongUsage(f"--model-dir: {show(strange[0])} is not a model of this stack; allowed: {allowed}")
    return {ids.get(name, name): folder for name, folder in folders.items()}


def _put(made: Document, wish: Wish) -> None:
    if wish.format == "text" and wish.out is None:
        from rich.console import Console

        from infra.preflight import report_text

        report_text.show(made, Console(highlight=False))
        return
    text = _text(made, wish.format)
    if wish.out is None:
        sys.stdout.write(text)
        return
    try:
        Path(wish.out).write_text(text, encoding="utf-8")
    except OSError as error:
        raise WrongUsage(f"--out: {show(wish.out)}: {(error.strerror or 'cannot be written').lower()}") from error


def _text(made: Document, form: str) -> str:
    if form == "json":
        return json.dumps(made, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if form == "md":
        from infra.preflight.report_markdown import markdown

        return markdown(made)
    if form == "html":
        from infra.preflight.html import page

        return page(made)
    from infra.preflight.report_text import written

    return written(made)
