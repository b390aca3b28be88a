"""``ebbtide fit``, the command for choosing hardware. Exit status: 0 fits, 1 does not, 2 wrong usage.

With ``--from-log`` it first records what a start of the engine took (``infra/planner/sizing/measured_starts.py``).
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path

from infra.atomic_write import atomic_write
from infra.commands.options import FitOptions
from infra.errors import UsageError
from infra.planner.facts import presets
from infra.planner.facts.model_facts import ModelFacts
from infra.planner.fit_answer import Answer, Question, answer, as_json
from infra.planner.sizing import measured_starts, start_log
from infra.planner.sizing.fit import MOST_GPUS, Named, cards
from infra.planner.sizing.measured_starts import Measurement
from infra.redaction import redacted
from infra.stackfile.findings.formatting import show
from infra.workspace import PROJECT

FITS, DOES_NOT, USAGE = 0, 1, 2
STACKS = PROJECT / "stacks"
CONTEXT = 8192
_SHARE = 0.9
_MOST_CONTEXT = 100_000_000


def run(options: FitOptions, stacks: Path = STACKS) -> int:
    """Print the answer; return the exit status. Starts are recorded in ``stacks``."""
    try:
        recorded = None
        if options.from_log is not None:
            options, recorded = _recorded(options, options.from_log, stacks)
        fit_answer = answered(options, stacks, recorded.measurement if recorded else None)
        _put(fit_answer, recorded, options.format)
    except UsageError as wrong:
        print(f"error: {wrong}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FITS if fit_answer.fits else DOES_NOT


@dataclass(frozen=True, kw_only=True)
class _Recorded:
    file: Path
    measurement: Measurement


def _recorded(options: FitOptions, log: str, stacks: Path) -> tuple[FitOptions, _Recorded]:
    """Record the start in a log; return the options with its settings, where nothing else was asked for. Raises
    ``UsageError``."""
    _check(options)
    if options.gpu is None and options.machine is None:
        raise UsageError("--from-log: a log does not say its GPU; allowed: --gpu or --machine; fix: name the log's")
    card = cards(Named(gpu=options.gpu, machine=options.machine))[0]
    measurement = measured_starts.measurement(
        start_log.read(Path(log)),
        _facts(options),
        card.product,
        card.memory_bytes,
        share=options.memory_share,
        today=date.today(),
    )
    file = measured_starts.file_of(stacks, measurement.facts.id, card.product)
    try:
        atomic_write(file, measured_starts.document(file, measurement.facts.id, card.product, measurement.start))
    except OSError as error:
        why = (error.strerror or "cannot be written").lower()
        raise UsageError(f"{show(str(file))}: {why}; allowed: a folder that can be written to") from error
    started = measurement.engine
    settled = replace(
        options,
        gpus=options.gpus or started.tensor_parallel,
        context=options.context or started.context,
        tensor_parallel=options.tensor_parallel or started.tensor_parallel,
        memory_share=started.memory_share,
    )
    return settled, _Recorded(file=file, measurement=measurement)


def answered(options: FitOptions, stacks: Path = STACKS, measured: Measurement | None = None) -> Answer:
    """Return the answer, by the starts recorded in ``stacks``; ``measured`` is the one to answer with the settings of.
    Raises ``UsageError``."""
    _check(options)
    tried = cards(
        Named(
            gpu=options.gpu,
            machine=options.machine,
            cloud=options.cloud,
            region=options.region,
            gpus=options.gpus,
        )
    )
    facts = measured.facts if measured else _facts(options)
    if facts.weights is None:
        raise UsageError(
            f"{facts.id}: the size of its weights is unknown; allowed: a model whose size is known; "
            "fix: give a folder with its config.json, or --hub"
        )
    context = options.context or min(CONTEXT, facts.context or CONTEXT)
    question = Question(
        context=context,
        concurrency=options.concurrency,
        kv_dtype=measured.engine.kv_dtype if measured and options.kv_dtype == "auto" else options.kv_dtype,
        dtype=options.dtype,
        memory_share=options.memory_share or _SHARE,
        tensor_parallel=options.tensor_parallel,
        gpus_named=options.gpus is not None,
        region=options.region,
        started=measured.engine if measured else None,
    )
    return answer(facts, tried, question, measured_starts.read(stacks))


def _check(options: FitOptions) -> None:
    tp = options.tensor_parallel
    for option, value, most in (
        ("--gpus", options.gpus, MOST_GPUS),
        ("--context", options.context, _MOST_CONTEXT),
        ("--concurrency", options.concurrency, 1_000_000),
        ("--tp", tp, MOST_GPUS),
    ):
        if value is not None and not 1 <= value <= most:
            raise UsageError(f"{option}: {value} is out of range; allowed: a whole number from 1 to {most}")
    if options.memory_share is not None and not 0 < options.memory_share <= 1:
        share = options.memory_share
        raise UsageError(f"--memory-share: {share} is not a share; allowed: a number above 0 and at most 1")
    if tp is not None and options.gpus is not None and tp > options.gpus:
        raise UsageError(f"--tp: {tp} is more than --gpus {options.gpus}; allowed: 1..{options.gpus}")


def _facts(options: FitOptions) -> ModelFacts:
    preset = presets.find(options.model)
    if preset is not None and not options.hub and options.revision is None and not Path(options.model).exists():
        return preset
    # the hub's client takes a third of a second to import
    from infra.planner.facts import model_source

    try:
        return model_source.resolve(
            options.model, ask_hub=options.hub, revision=options.revision, token=os.environ.get("HF_TOKEN")
        )
    except (ValueError, OSError) as error:
        hint = " (--hub)" if "ask the hub" in str(error) else ""
        raise UsageError(f"{error}{hint}") from error
    except (TypeError, OverflowError) as error:  # a value of a type that no model has there
        raise UsageError(_strange(options.model)) from error


def _strange(model: str) -> str:
    return (
        f"{model}: config.json has a value that is no size or number of a model's; allowed: a configuration as "
        "transformers writes it; fix: fetch the file again"
    )


def _put(fit_answer: Answer, recorded: _Recorded | None, form: str) -> None:
    document = as_json(fit_answer)
    if recorded is not None:
        start = recorded.measurement.start
        figures = {"engine": start.engine, "measured": dict(start.measured), "planned": dict(start.planned)}
        document["recorded"] = {"file": str(recorded.file), **figures}
    read = redacted(document)
    if form == "json":
        sys.stdout.write(json.dumps(read, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        return
    from rich.console import Console

    from infra.planner.report import fit as report

    report.show(read, Console(highlight=False))
