"""Which of the catalogue's models fit on which of its GPUs: ``python -m benchmarks.fit_table``.

The table goes to ``docs/results/fit.md``. Each figure is one of ``ebbtide fit``'s. Each model has a word for how far it
can be relied on: a published start of it was held against the plan, or the plan reckons it, or only roughly.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence

from benchmarks import planner_logs
from components.catalog.gpus import gpus
from infra.planner.facts import presets
from infra.planner.facts.model_facts import ModelFacts
from infra.planner.fit_answer import Answer, Question, answer
from infra.planner.sizing.fit import Named, cards
from infra.workspace import PROJECT

RESULTS = PROJECT / "docs" / "results" / "fit.md"
CONTEXT, MOST_CONTEXT = 8192, 10**9
HEAD = f"""# What fits where

Made by `python -m benchmarks.fit_table`, from the catalogue alone. A cell is the fewest GPUs (1, 2, 4 or 8) on which
the model fits with a context of {CONTEXT:,} tokens, or its own where that is less, and in brackets how many whole
sequences of that length they hold at once; – is none, ✗ that the engine refuses such cards for it.

*Confidence*: **measured**: a start that somebody published was held against the plan on such a GPU
([planner-logs.md](planner-logs.md)), marked * in its cell; **computed**: the plan's own arithmetic, from real sizes of
the weights; **rough**: a finding says what is only estimated (EBB262).

"""


def models() -> list[tuple[str, ModelFacts]]:
    """Return the catalogue's models that keep a cache, by name."""
    named_facts = [(name, presets.find(name)) for name in presets.names()]
    return [
        (name, facts) for name, facts in named_facts if facts is not None and facts.kv and facts.weights is not None
    ]


def measured() -> set[tuple[str, str]]:
    """Return model and GPU of each published start that reported its cache."""
    return {
        (case["model"], case["product"])
        for case in planner_logs.cases().values()
        if "product" in case and "kv_gib" in case["reported"]
    }


def tried(facts: ModelFacts, product: str) -> Answer:
    """Return what ``ebbtide fit MODEL --gpu PRODUCT`` answers."""
    context = min(CONTEXT, facts.context or MOST_CONTEXT)
    return answer(facts, cards(Named(gpu=product)), Question(context=context, concurrency=1, priced=False))


def _cell(facts: ModelFacts, fit_answer: Answer, product: str) -> str:
    mark = "*" if (facts.id, product) in measured() else ""
    if fit_answer.fits:
        return f"{fit_answer.best.tensor_parallel} ({fit_answer.best.sequences:,}){mark}"
    return f"✗{mark}" if fit_answer.best.fits else f"–{mark}"


def lines(products: Sequence[str], only: str | None = None) -> Iterator[str]:
    """Yield the table's lines, or its head and that of one model."""
    yield f"| model | confidence | {' | '.join(products)} |"
    yield f"|---|---|{'---|' * len(products)}"
    for name, facts in models():
        if only not in (None, name):
            continue
        answers = [tried(facts, product) for product in products]
        rough = any(finding.code == "EBB262" for finding in answers[0].findings)
        held = any((facts.id, product) in measured() for product in products)
        word = "rough" if rough else "measured" if held else "computed"
        cells = (_cell(facts, fit_answer, product) for fit_answer, product in zip(answers, products, strict=True))
        yield f"| {name} | {word} | {' | '.join(cells)} |"


def table() -> str:
    """Return the table."""
    return "\n".join(lines(list(gpus())))


def main() -> None:
    """Write the table."""
    RESULTS.write_text(f"{HEAD}{table()}\n")
    sys.stdout.write(table() + "\n")


if __name__ == "__main__":
    main()
