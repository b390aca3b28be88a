"""``ebbtide plan``, the command for people and pipelines.

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

from infra.commands.options import PlanOptions
from infra.errors import UsageError
from infra.planner import cold_path, diff
from infra.planner.facts import adapters, recorded_models
from infra.planner.facts.adapters import AdapterFacts, RecordedAdapters
from infra.planner.facts.model_facts import ModelFacts
from infra.planner.facts.recorded_models import RecordedModels
from infra.planner.judgement import judge
from infra.planner.report.document import Document, ResourceCounts, document
from infra.planner.sizing import measured_starts
from infra.redaction import redacted
from infra.stackfile import chat_templates
from infra.stackfile.findings.formatting import show
from infra.stackfile.findings.waivers import WAIVERS_FILE, load_waivers
from infra.stackfile.load import read_file
from infra.stackfile.reading import Reading
from infra.workspace import PROJECT

STACKS = PROJECT / "stacks"
CLEAN, ERRORS, USAGE = 0, 1, 2


@dataclass
class Facts:
    """The facts of models, from folders named by the user, the catalogue, the records beside the stack files, and the
    hub if it is asked for. ``notes`` say what went wrong on the way."""

    recorded: RecordedModels = field(default_factory=RecordedModels)
    folders: Mapping[str, str] = field(default_factory=dict)
    hub: bool = False
    revisions: Mapping[str, str] = field(default_factory=dict)
    adapters: RecordedAdapters = field(default_factory=RecordedAdapters)
    notes: list[str] = field(default_factory=list)

    def __call__(self, model_id: str) -> ModelFacts | None:
        folder = self.folders.get(model_id)
        if folder is None and not self.hub:
            return self.recorded.find(model_id)
        # the hub's client takes a third of a second to import
        from infra.planner.facts import model_source

        try:
            if folder is not None:
                return model_source.resolve(folder)
            token = os.environ.get("HF_TOKEN")
            return model_source.resolve(model_id, ask_hub=True, revision=self.revisions.get(model_id), token=token)
        except (ValueError, OSError, TypeError, OverflowError) as error:
            explained = isinstance(error, (ValueError, OSError))
            self.notes.append(str(error) if explained else f"{folder or model_id}: its config.json is no model's")
            return self.recorded.find(model_id) if folder is None else None

    def adapter(self, adapter_id: str) -> AdapterFacts | None:
        """Return the facts of an adapter, from the same places."""
        folder = self.folders.get(adapter_id)
        try:
            if folder is not None:
                return adapters.from_folder(Path(folder).expanduser(), adapter_id)
            if self.hub:
                from infra.planner.facts import hub

                return hub.adapter_from_hub(adapter_id, self.revisions.get(adapter_id), os.environ.get("HF_TOKEN"))
        except (ValueError, OSError) as error:
            self.notes.append(str(error))
            if folder is not None:
                return None
        return self.adapters.find(adapter_id)


def run(options: PlanOptions) -> int:
    """Print the plan, or write it to ``--out``; return the exit status."""
    try:
        plan = planned(options)
        _put(plan, options)
    except UsageError as wrong:
        print(f"error: {wrong}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the reader has closed the pipe
    return ERRORS if plan["verdict"] == "errors" else CLEAN


def planned(options: PlanOptions) -> Document:
    """Return the plan as data. Raises ``UsageError``."""
    file = file_of(options.stack, options.config_file)
    try:
        measured = cold_path.read_measured(Path(options.measured)) if options.measured else {}
    except cold_path.BadMeasurement as bad:
        raise UsageError(f"--measured: {bad}") from bad
    plan, reading, kind = _planned(file, options, measured)
    secrets = reading.secrets.texts
    if options.graph and kind is not None:
        plan = _with_graph(plan, file, options, kind)
    if options.against is not None:
        try:
            text, name = diff.other_text(options.against, options.stack)
        except diff.NoSuchReference as missing:
            raise UsageError(str(missing)) from missing
        with tempfile.TemporaryDirectory(prefix="ebbtide-plan-") as folder:
            other = Path(folder) / f"Pulumi.{options.stack}.yaml"
            other.write_text(text, errors="surrogateescape")
            before, old, _ = _planned(other, options, measured, file.parent)
        secrets = secrets | old.secrets.texts
        plan["changes"], plan["against"] = diff.changes(before, plan), name
        stopped = sum(1 for each in before["findings"] if each["severity"] != "warning")
        if stopped:
            plan["notes"].append(f"{name} has {stopped} findings that stop it: only its sound parts are compared")
    return redacted(plan, secrets)  # type: ignore[no-any-return]


def _planned(
    file: Path, options: PlanOptions, measured: Mapping[str, Mapping[str, float]], beside: Path | None = None
) -> tuple[Document, Reading, str | None]:
    """Return the plan without the graph, what was read, and the kind of place if its graph can be made, else None.
    Models and starts are recorded beside the stack file, or in ``beside``."""
    waivers = load_waivers(WAIVERS_FILE)
    reading = read_file(file, waivers.waivers)
    stacks = beside or file.parent
    facts = Facts(recorded_models.read(stacks), _folders(options.model_dir or ()), options.hub)
    facts.adapters = adapters.read(stacks)
    ids = _ids(reading)
    facts.folders = _by_id(facts.folders, ids)
    if reading.partial is not None:
        models = reading.partial.models.values()
        facts.revisions = {each.id: each.revision for model in models for each in model.all_weights}
    judged = judge(
        reading,
        facts,
        files=chat_templates.judge(reading.partial, stacks),
        more=(*facts.recorded.problems, *facts.adapters.problems),
        measured=measured,
        starts=measured_starts.read(stacks),
        adapter_of=facts.adapter,
    )
    notes = [*(str(finding) for finding in waivers.findings if finding not in waivers.unreadable), *facts.notes]
    findings = (*waivers.unreadable, *judged.findings)
    plan = document(options.stack, reading.file, findings, judged.plan, None, notes)
    if reading.stops and judged.plan is not None:
        plan["notes"].append("the stack file is refused: only what is sound in it is planned")
    config = reading.config
    stops = config is None or judged.stops or waivers.unreadable
    return plan, reading, None if stops or config is None else config.platform.kind


def _with_graph(plan: Document, file: Path, options: PlanOptions, kind: str) -> Document:
    from infra.commands.plan_graph import NoGraph, graph_of

    try:
        graph: ResourceCounts = graph_of(file, options.stack, kind)
    except NoGraph as missing:
        note = f"the resources were not counted: {missing}"
        return {**plan, "notes": [*plan["notes"], note]}
    counted = {"resources": graph.total, "components": graph.components, "by_type": dict(graph.by_type)}
    return {**plan, "graph": counted}


def file_of(stack: str, config_file: str | None) -> Path:
    """Return the stack's file, or the one to read in its place. Raises ``UsageError``."""
    if config_file is not None:
        file = Path(config_file)
        if not file.is_file():
            raise UsageError(f"--config-file: {show(config_file)} is not a file; allowed: a stack file")
        return file
    names = sorted(file.name[len("Pulumi.") : -len(".yaml")] for file in STACKS.glob("Pulumi.*.yaml"))
    if stack not in names:
        import difflib

        near = difflib.get_close_matches(stack, names, n=1, cutoff=0.5)
        suggestion = f"; fix: did you mean {near[0]}?" if near else ""
        raise UsageError(f"{show(stack)} is not a stack; allowed: {', '.join(names) or 'none is there'}{suggestion}")
    return STACKS / f"Pulumi.{stack}.yaml"


def _folders(pairs: Iterable[str]) -> dict[str, str]:
    """Parse ``NAME=FOLDER`` pairs. Raises ``UsageError``."""
    folders: dict[str, str] = {}
    for pair in pairs:
        name, sign, folder = pair.partition("=")
        if not (name and sign and folder):
            raise UsageError(
                f"--model-dir: {show(pair)} is not NAME=FOLDER; allowed: a model's name or id, = and a path"
            )
        if not Path(folder).expanduser().exists():
            raise UsageError(
                f"--model-dir: {show(folder)} is not there; allowed: a folder with config.json, or an archive"
            )
        folders[name] = folder
    return folders


def _ids(reading: Reading) -> dict[str, str]:
    """Return the ids of models and adapters by name, including those of models that are refused for something else."""
    models = reading.values.get("models")
    items = dict(models) if isinstance(models, Mapping) else {}
    for model in list(items.values()):
        more = model.get("adapters") if isinstance(model, Mapping) else None
        items = {**(more if isinstance(more, Mapping) else {}), **items}
    return {str(name): str(each["id"]) for name, each in items.items() if isinstance(each, Mapping) and "id" in each}


def _by_id(folders: Mapping[str, str], ids: Mapping[str, str]) -> dict[str, str]:
    """Return the folders by model id. A model's name in the stack counts as its id. Raises ``UsageError``."""
    strange = [name for name in folders if name not in ids and name not in ids.values()]
    if strange:
        allowed = ", ".join(ids) or "none: the stack has no model"
        raise UsageError(f"--model-dir: {show(strange[0])} is not a model of this stack; allowed: {allowed}")
    return {ids.get(name, name): folder for name, folder in folders.items()}


def _put(plan: Document, options: PlanOptions) -> None:
    if options.format == "text" and options.out is None:
        from rich.console import Console

        from infra.planner.report import text as report_text

        report_text.show(plan, Console(highlight=False))
        return
    text = _text(plan, options.format)
    if options.out is None:
        sys.stdout.write(text)
        return
    try:
        Path(options.out).write_text(text, encoding="utf-8")
    except OSError as error:
        raise UsageError(f"--out: {show(options.out)}: {(error.strerror or 'cannot be written').lower()}") from error


def _text(plan: Document, form: str) -> str:
    if form == "json":
        return json.dumps(plan, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if form == "md":
        from infra.planner.report.tables import markdown

        return markdown(plan)
    if form == "html":
        from infra.planner.report.html import page

        return page(plan)
    from infra.planner.report.text import written

    return written(plan)
