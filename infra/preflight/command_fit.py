"""``ebbtide fit``: what a person choosing hardware types. Exit status: 0 fits, 1 does not, 2 wrong usage."""

from __future__ import annotations

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path

from infra.preflight import presets
from infra.preflight.fit_answer import Answer, Question, answer, as_json
from infra.preflight.fit_candidates import MOST_GPUS, Named, WrongChoice, cards
from infra.preflight.model_facts import ModelFacts

FITS, DOES_NOT, USAGE = 0, 1, 2
CONTEXT = 8192
_MOST_CONTEXT = 100_000_000


class WrongUsage(Exception):
    """The text says what is allowed."""


@dataclass(frozen=True)
class Wish:
    """What was typed. ``context`` None: 8,192 tokens, or the model's own where that is less."""

    model: str
    named: Named = field(default_factory=Named)
    context: int | None = None
    concurrency: int = 1
    kv_dtype: str = "auto"
    dtype: str = "auto"
    tensor_parallel: int | None = None
    memory_share: float = 0.9
    hub: bool = False
    revision: str | None = None
    format: str = "text"


def run(wish: Wish) -> int:
    """Print the answer; gives the exit status."""
    try:
        found = answered(wish)
        _put(found, wish.format)
    except (WrongUsage, WrongChoice) as wrong:
        print(f"error: {wrong}", file=sys.stderr)
        return USAGE
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return FITS if found.fits else DOES_NOT


def answered(wish: Wish) -> Answer:
    """Raises ``WrongUsage`` and ``WrongChoice``."""
    _check(wish)
    tried = cards(wish.named)
    facts = _facts(wish)
    if facts.weights is None:
        raise WrongUsage(
            f"{facts.id}: the size of its weights is unknown; allowed: a model whose size is known; "
            "fix: give a folder with its config.json, or --hub"
        )
    context = wish.context or min(CONTEXT, facts.context or CONTEXT)
    question = Question(
        context=context,
        concurrency=wish.concurrency,
        kv_dtype=wish.kv_dtype,
        dtype=wish.dtype,
        memory_share=wish.memory_share,
        tensor_parallel=wish.tensor_parallel,
        gpus_named=wish.named.gpus is not None,
        region=wish.named.region,
    )
    return answer(facts, tried, question)


def _check(wish: Wish) -> None:
    named, tp = wish.named, wish.tensor_parallel
    for option, value, most in (
        ("--gpus", named.gpus, MOST_GPUS),
        ("--context", wish.context, _MOST_CONTEXT),
        ("--concurrency", wish.concurrency, 1_000_000),
        ("--tp", tp, MOST_GPUS),
    ):
        if value is not None and not 1 <= value <= most:
            raise WrongUsage(f"{option}: {value} is out of range; allowed: a whole number from 1 to {most}")
    if not 0 < wish.memory_share <= 1:
        raise WrongUsage(f"--memory-share: {wish.memory_share} is not a share; allowed: a number above 0 and at most 1")
    if tp is not None and named.gpus is not None and tp > named.gpus:
        raise WrongUsage(f"--tp: {tp} is more than --gpus {named.gpus}; allowed: 1..{named.gpus}")


def _facts(wish: Wish) -> ModelFacts:
    preset = presets.find(wish.model)
    if preset is not None and not wish.hub and wish.revision is None and not Path(wish.model).exists():
        return preset
    # the hub's client takes a third of a second to import
    from infra.preflight import model_source

    try:
        return model_source.resolve(
            wish.model, ask_hub=wish.hub, revision=wish.revision, token=os.environ.get("HF_TOKEN")
        )
    except (ValueError, OSError) as error:
        hint = " (--hub)" if "ask the hub" in str(error) else ""
        raise WrongUsage(f"{error}{hint}") from error
    except (TypeError, OverflowError) as error:  # a value of another kind than any model has there
        raise WrongUsage(_strange(wish.model)) from error


def _strange(model: str) -> str:
    return (
        f"{model}: config.json has a value that is no size or number of a model's; allowed: a configuration as "
        "transformers writes it; fix: fetch the file again"
    )


def _put(found: Answer, form: str) -> None:
    read = as_json(found)
    if form == "json":
        sys.stdout.write(json.dumps(read, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
        return
    from rich.console import Console

    from infra.preflight.report_fit import show

    show(read, Console(highlight=False))
