"""Answer of ``ebbtide fit``: the best hardware that was tried, its figures and findings. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from components.catalog.machine import Machine
from components.model_service.host_memory import there_bytes
from components.typed.refusal import Problem
from components.typed.rules.planner import (
    FIT_GPUS_LEFT_OVER,
    FIT_PRICE_UNKNOWN,
    FIT_TOO_MANY_SEQUENCES,
    HOST_MEMORY_SHORT,
    MORE_SEQUENCES_THAN_STATES,
)
from components.typed.rules.stack import CONTEXT_ABOVE_MODEL, CONTEXT_DOES_NOT_FIT, WEIGHTS_DO_NOT_FIT
from infra.planner.facts.model_facts import ModelFacts
from infra.planner.report.document import finding_of
from infra.planner.sizing import fit, measured_starts, memory
from infra.planner.sizing.compatibility import Demands, judge_doubts, judge_model_facts
from infra.planner.sizing.compatibility_gpu import Gpu
from infra.planner.sizing.fit import Card, Fit, cheapest_with
from infra.planner.sizing.host_memory import holds, loading_bytes
from infra.planner.sizing.measured_starts import MeasuredStarts
from infra.planner.sizing.memory import GIB, Engine, full_forward
from infra.planner.sizing.planned_pool import as_loaded, batched_tokens
from infra.stackfile.findings.finding import Finding
from infra.stackfile.load import finding

# what a person types, by the stack file's name for it
_TYPED = {
    "gpus": "--tp",
    "maxTokens": "--context",
    "dtype": "--dtype",
    "pool": "--gpu",
    "id": "MODEL",
    "extraArgs": "--kv-dtype",
}
_SHOWN = 8


@dataclass(frozen=True)
class Question:
    """Question to ``ebbtide fit``: ``context`` in tokens, ``concurrency`` sequences of that length at once.
    ``gpus_named``: the number of GPUs was given, so all of them are used. ``started`` are the settings of a start that
    was measured: they count where nothing else is asked for."""

    context: int
    concurrency: int
    kv_dtype: str = "auto"
    dtype: str = "auto"
    memory_share: float = 0.9
    tensor_parallel: int | None = None
    gpus_named: bool = False
    region: str | None = None
    priced: bool = True
    started: Engine | None = None


@dataclass(frozen=True)
class Answer:
    """Answer to one question. ``machine`` carries the price: the one tried, or the cheapest that has such GPUs."""

    facts: ModelFacts
    question: Question
    best: Fit
    fits: bool
    reason: str
    machine: Card | None
    findings: tuple[Finding, ...]
    others: tuple[Fit, ...]


def answer(
    facts: ModelFacts, tried: Sequence[Card], question: Question, starts: MeasuredStarts = measured_starts.NONE
) -> Answer:
    """Return the cheapest of ``tried`` that fits and serves the model, else the cheapest that fits, else the largest.
    Raises ``ValueError`` where the size of the weights is unknown."""
    loaded = as_loaded(facts, question.dtype)
    engine = replace(
        question.started or Engine(context=question.context, max_batched_tokens=0),
        context=question.context,
        sequences=_sequences(question),
        memory_share=question.memory_share,
        kv_dtype=question.kv_dtype,
    )
    attempts = [_try(loaded, card, engine, question, starts) for card in tried]
    judged = [(each, _problems(loaded, each, question)) for each in attempts]
    able = [each for each, problems in judged if each.fits and not _stopped(problems)]
    # where the engine refuses them all, a card that would hold the model explains best why; else the largest does
    held = [each for each in able if _loads(loaded, each)] or able or [each for each in attempts if each.fits]
    # bare cards have no price: the fewest are the cheapest
    held.sort(key=fit.order if all(each.card.machine for each in held) else lambda each: (each.card.gpus,))
    best = held[0] if held else _largest(attempts)
    problems = next(problems for each, problems in judged if each is best)
    machine = (
        best.card
        if best.card.machine
        else cheapest_with(best.card.product, best.tensor_parallel, question.region, loaded)
    )
    if not best.fits and not any(
        p.rule in (WEIGHTS_DO_NOT_FIT, CONTEXT_DOES_NOT_FIT, CONTEXT_ABOVE_MODEL) for p in problems
    ):
        problems = [*problems, _too_small(best, question)]
    if question.gpus_named and question.tensor_parallel is None and best.tensor_parallel < best.card.gpus:
        problems = [*problems, _idle(best)]
    if machine is not None and machine.machine is not None and not _loads(loaded, replace(best, card=machine)):
        problems = [*problems, _host_short(loaded, machine.machine, best.tensor_parallel)]
    if question.priced and (machine is None or machine.usd_per_hour is None):
        problems = [*problems, _no_price(best, machine, question)]
    stopped = _stopped(problems)
    reason = best.reason if best.fits is not bool(stopped) or not stopped else _explanation(stopped[0])
    return Answer(
        facts=loaded,
        question=question,
        best=best,
        fits=best.fits and not stopped,
        reason=reason,
        machine=machine,
        findings=tuple(
            finding(replace(p, path=(_TYPED.get(str(p.path[-1]), str(p.path[-1])),)), "fit") for p in problems
        ),
        others=tuple(held[1:_SHOWN]) if able else (),
    )


def _loads(facts: ModelFacts, tried: Fit) -> bool:
    machine = tried.card.machine
    return machine is None or holds(machine, facts, tried.tensor_parallel)


def _host_short(facts: ModelFacts, machine: Machine, gpus: int) -> Problem:
    needed = loading_bytes(facts.weights.total if facts.weights else None, gpus) or 0
    there = there_bytes(machine.memory_gib, gpus, machine.gpus)
    message = (
        f"leaves {there / GIB:.1f} GiB of main memory to {gpus} of its GPUs, and loading takes up to {needed / GIB:.1f}"
    )
    return HOST_MEMORY_SHORT.at(
        ("--machine",),
        message,
        allowed="a machine with more memory",
        fix="take one with more memory",
        value=machine.name,
    )


def _sequences(question: Question) -> int:
    """Return how many sequences the engine is assumed to run at once."""
    return max(question.started.sequences if question.started else 16, question.concurrency)


def _try(facts: ModelFacts, card: Card, engine: Engine, question: Question, starts: MeasuredStarts) -> Fit:
    splits: list[int] | None = None
    if question.tensor_parallel is not None:
        splits = [question.tensor_parallel]
    elif facts.task == "image":
        splits = [1]
    elif card.machine is None and memory.divides(facts, card.gpus):
        splits = [card.gpus]  # all cards of this count are used: smaller counts are tried separately
    elif question.gpus_named:
        splits = [max((n for n in range(1, card.gpus + 1) if memory.divides(facts, n)), default=1)]
    return fit.try_card(facts, card, engine, splits, question.concurrency, starts)


def _problems(facts: ModelFacts, tried: Fit, question: Question) -> list[Problem]:
    demands = Demands(
        task="rerank" if facts.task == "classify" else facts.task or "base",
        tensor_parallel=tried.tensor_parallel,
        context=question.context,
        dtype=question.dtype,
        kv_dtype=question.kv_dtype,
        licence_accepted=True,
    )
    card = tried.card
    problems = judge_model_facts(facts, Gpu(card.product, card.compute_capability), demands, ())
    return [*problems, *judge_doubts(facts, ())]


def _stopped(problems: Iterable[Problem]) -> list[Problem]:
    return [problem for problem in problems if problem.severity == "error"]


def _explanation(problem: Problem) -> str:
    return f"{problem.value} {problem.message}" if problem.has_value and problem.value is not None else problem.message


def _largest(attempts: Sequence[Fit]) -> Fit:
    return max(attempts, key=lambda each: (each.fits, each.plan.sequences, each.plan.kv_free, each.card.gpus))


def _too_small(best: Fit, question: Question) -> Problem:
    if best.plan.fits and best.plan.overbooked:
        most = best.plan.state_blocks or 0
        fix, allowed = f"ask for {most}, or more memory", f"1..{most}"
        return MORE_SEQUENCES_THAN_STATES.at(("--concurrency",), best.reason, allowed=allowed, fix=fix)
    if not best.plan.loads:
        fix = "take more GPUs, GPUs with more memory, or a quantized build"
        return WEIGHTS_DO_NOT_FIT.at(("gpus",), best.reason, allowed="GPUs that hold the weights", fix=fix)
    most = best.plan.longest_context
    if question.concurrency > 1 and best.plan.sequences >= 1:
        fix = f"ask for {int(best.plan.sequences)}, a shorter context, or more GPUs"
        allowed = f"1..{int(best.plan.sequences)}"
        return FIT_TOO_MANY_SEQUENCES.at(("--concurrency",), best.reason, allowed=allowed, fix=fix)
    fix = f"ask for --context {most}, or take more GPUs" if most else "take more GPUs, or GPUs with more memory"
    return CONTEXT_DOES_NOT_FIT.at(
        ("maxTokens",), best.reason, allowed=f"1..{most}" if most else "more memory", fix=fix
    )


def _idle(best: Fit) -> Problem:
    message = f"cannot all be used by one replica: {best.tensor_parallel} are, the others would idle"
    fix = f"ask for {best.tensor_parallel}, or use the others for further replicas"
    number = best.card.gpus
    return FIT_GPUS_LEFT_OVER.at(("--gpus",), message, allowed=f"{best.tensor_parallel}", fix=fix, value=number)


def _no_price(best: Fit, machine: Card | None, question: Question) -> Problem:
    where = f" in {question.region}" if question.region else ""
    if machine is None:
        message = f"is in no machine of the catalogue with {best.tensor_parallel} of it{where}: its price is unknown"
    else:
        message = f"has no known price{where}: what it costs is unknown"
    fix = "look it up on the cloud's price list, or ask for another region"
    name = machine.name if machine else best.card.product
    return FIT_PRICE_UNKNOWN.at(("usd_per_hour",), message, allowed="a machine with a known price", fix=fix, value=name)


def as_json(outcome: Answer) -> dict[str, Any]:
    """Return the answer as plain data: sizes in bytes, null is unknown."""
    best, facts, plan = outcome.best, outcome.facts, outcome.best.plan
    assert facts.weights is not None
    machine = outcome.machine
    return {
        "model": facts.id,
        "revision": facts.revision,
        "source": facts.source,
        "parameters": facts.parameters,
        "dtype": facts.dtype,
        "quantization": facts.quantization,
        "licence": facts.licence,
        "gated": facts.gated,
        "model_context_tokens": facts.context,
        "fits": outcome.fits,
        "reason": outcome.reason,
        "context_tokens": outcome.question.context,
        "concurrency": outcome.question.concurrency,
        "weights_bytes": facts.weights.total,
        "weights_bytes_per_gpu": plan.weights,
        "weights_from": facts.weights.source,
        "kv_bytes_per_token": _plain(plan.kv_bytes_per_token * best.tensor_parallel),
        "kv_bytes_per_token_per_gpu": _plain(plan.kv_bytes_per_token),
        "kv_dtype": outcome.question.kv_dtype,
        "kv_bytes_free_per_gpu": plan.kv_free,
        "activation_bytes_per_gpu": plan.activations,
        "overhead_bytes_per_gpu": plan.overhead,
        "usable_bytes_per_gpu": plan.usable,
        "max_context_tokens": plan.longest_context if facts.kv or facts.context else None,
        "sequences_at_context": best.sequences if facts.kv else None,
        "max_batched_tokens": outcome.question.started.max_batched_tokens
        if outcome.question.started
        else batched_tokens(
            best.card.memory_bytes, best.card.product, _sequences(outcome.question), outcome.question.context
        ),
        "tensor_parallel": best.tensor_parallel,
        "gpu": best.card.product,
        "gpu_bytes": best.card.memory_bytes,
        "machine": machine.name if machine else None,
        "cloud": machine.machine.place if machine and machine.machine else None,
        "region": machine.region if machine else None,
        "usd_per_hour": machine.usd_per_hour if machine else None,
        "arithmetic": plan.description(),
        "measured_by": plan.measured_by or None,
        "measured_bytes_per_gpu": plan.measured,
        "recorded": None,
        "full_forward_bytes": _full_forward_bytes(facts),
        "findings": [finding_of(each) for each in outcome.findings],
        "alternatives": [
            {
                "machine": each.card.name,
                "cloud": each.card.machine.place if each.card.machine else None,
                "gpu": each.card.product,
                "gpus": each.card.machine.gpus if each.card.machine else each.card.gpus,
                "tensor_parallel": each.tensor_parallel,
                "max_context_tokens": each.plan.longest_context,
                "sequences_at_context": each.sequences if facts.kv else None,
                "usd_per_hour": each.card.usd_per_hour,
                "region": each.card.region,
            }
            for each in outcome.others
        ],
    }


def _full_forward_bytes(facts: ModelFacts) -> int | None:
    """Return the bytes computed by guides that know no engine; None where the model's shape or size is unknown."""
    if not facts.parameters or not facts.kv:
        return None
    return full_forward(facts.parameters, facts.layers, facts.hidden, facts.heads).total


def _plain(number: float) -> int | float:
    return int(number) if number == int(number) else number
