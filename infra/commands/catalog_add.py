"""``ebbtide catalog add``: record the facts of a model, or of a LoRA adapter, beside the stack files, so that every
command can judge it.

Exit status: 0 recorded, 2 wrong usage.
"""

from __future__ import annotations

import os
import re
import sys
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from infra.atomic_write import atomic_write
from infra.errors import UsageError
from infra.planner.facts import adapters, presets, recorded_models
from infra.planner.facts.adapters import AdapterFacts
from infra.redaction import redact
from infra.stackfile.schema.model import COMMIT, HUB_ID
from infra.workspace import PROJECT

RECORDED, USAGE = 0, 2


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options. ``model`` is an id on the hub; ``folder`` has at least its config.json, or an adapter's
    adapter_config.json (None: ask the hub)."""

    model: str
    folder: str | None = None
    revision: str | None = None
    stacks: Path = PROJECT / "stacks"


def run(options: Options) -> int:
    """Write the file and print its path; return the exit status."""
    try:
        file = recorded(options)
    except UsageError as wrong:
        print(f"error: {wrong}", file=sys.stderr)
        return USAGE
    message = f"{file}: commit it beside the stack file; `plan`, `graph`, `gate` and `up` judge {options.model} by it"
    print(redact(message))
    return RECORDED


def recorded(options: Options) -> Path:
    """Record the facts of the model, or of the adapter; return the file. Raises ``UsageError``."""
    from infra.planner.facts import model_source

    if not re.fullmatch(HUB_ID, options.model):
        raise UsageError(f"{options.model!r} is not an id; allowed: owner/name as on the model's page")
    if options.revision is not None and not re.fullmatch(COMMIT, options.revision):
        raise UsageError(f"--revision: {options.revision!r}; allowed: the 40 hexadecimal digits of a commit")
    known = presets.find(options.model)
    if known is not None:
        raise UsageError(f"{options.model} is in the catalogue already ({known.source}); nothing has to be recorded")
    try:
        if options.folder is not None:
            folder = Path(options.folder).expanduser()
            if (adapter := adapters.from_folder(folder, options.model, options.revision)) is not None:
                return _of_adapter(options, replace(adapter, source="the adapter's own files"))
            facts = model_source.resolve(options.folder, revision=options.revision)
            facts = replace(facts, id=options.model, source="the model's own files")
        else:
            from infra.planner.facts import hub

            token = os.environ.get("HF_TOKEN")
            try:
                facts = model_source.resolve(options.model, ask_hub=True, revision=options.revision, token=token)
            except hub.NoModel:
                if (adapter := hub.adapter_from_hub(options.model, options.revision, token)) is None:
                    raise
                return _of_adapter(options, adapter)
    except (ValueError, OSError) as error:
        raise UsageError(str(error)) from error
    except (TypeError, OverflowError) as error:
        raise UsageError(f"{options.folder or options.model}: its config.json is no model's") from error
    text = recorded_models.document(_file_name(options.model), facts, date.today())
    return _written(options, recorded_models.FOLDER, text)


def _of_adapter(options: Options, facts: AdapterFacts) -> Path:
    return _written(options, adapters.FOLDER, adapters.document(facts, date.today()))


def _written(options: Options, folder: str, text: str) -> Path:
    file = options.stacks / folder / f"{_file_name(options.model)}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(file, text)
    return file


def _file_name(model_id: str) -> str:
    return re.sub(r"[^a-z0-9.-]+", "-", model_id.lower())
