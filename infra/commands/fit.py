"""``ebbtide fit``, the command for choosing hardware. Exit status: 0 fits, 1 does not, 2 wrong usage."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from infra.commands.options import FitOptions
from infra.errors import UsageError
from infra.planner.facts import presets
from infra.planner.facts.model_facts import ModelFacts
from infra.planner.fit_answer import Answer, Question, answer, as_json
from infra.planner.sizing.fit import MOST_GPUS, Named, cards
from infra.redaction import redacted

FITS, DOES_NOT, USAGE = 0, 1, 2
CONTEXT = 8192
_MOST_CONTEXT = 100_000_000


def run(options: FitOptions) -> int:
    """Print the answer; return the exit status."""
    try:
        found = answered(options)
        _put(found, options.format)
    except UsageError as wrong:
        print(f"error: {wrong}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FITS if found.fits else DOES_NOT


def answered(options: FitOptions) -> Answer:
    """Return the answer. Raises ``UsageError``."""
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
    facts = _facts(options)
    if facts.weights is None:
        raise UsageError(
            f"{facts.id}: the size of its weights is unknown; allowed: a model whose size is known; "
            "fix: give a folder with its config.json, or --hub"
        )
    context = options.context or min(CONTEXT, facts.context or CONTEXT)
    question = Question(
        context=context,
        concurrency=options.concurrency,
        kv_dtype=options.kv_dtype,
        dtype=options.dtype,
        memory_share=options.memory_share,
        tensor_parallel=options.tensor_parallel,
        gpus_named=options.gpus is not None,
        region=options.region,
    )
    return answer(facts, tried, question)


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
    if not 0 < options.memory_share <= 1:
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


def _put(found: Answer, form: str) -> None:
    read = redacted(as_json(found))
    if form == "json":
        sys.stdout.write(json.dumps(read, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        return
    from rich.console import Console

    from infra.planner.report.fit import show

    show(read, Console(highlight=False))
