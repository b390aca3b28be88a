"""Findings about one planned model: what is wrong with it, or not known. The planner's codes are 240 to 269."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import lru_cache

from components.catalog.gpus import gpus
from components.catalog.machines import machines
from components.model_service.host_memory import there_bytes
from components.platforms.kinds import kind_of
from components.typed.refusal import Path, Problem, Severity
from components.typed.rules.planner import (
    COLD_START_TOO_SHORT,
    FACTS_OF_ANOTHER_COMMIT,
    FLAG_NOT_FOLLOWED,
    GPU_MEMORY_OVERSTATED,
    GUARD_WAIT_CUT_BY_HOP,
    HOST_MEMORY_SHORT,
    MEMORY_UNKNOWN,
    MODEL_FACTS_UNKNOWN,
    MORE_SEQUENCES_THAN_STATES,
    SHARED_MEMORY_EXCEEDED,
    SLEEPING_WEIGHTS_FILL_MEMORY,
    TURNS_MEMORY_EXCEEDED,
    WEIGHTS_UNDERSTATED,
)
from components.typed.rules.stack import CONTEXT_DOES_NOT_FIT, HOLD_CUT_BY_HOP, WEIGHTS_DO_NOT_FIT
from infra.planner.adapter_checks import judge_adapters
from infra.planner.facts.model_facts import ModelFacts
from infra.planner.model_plan import ModelPlan
from infra.planner.sizing import fit
from infra.planner.sizing.compatibility import Demands, judge_doubts, judge_model_facts
from infra.planner.sizing.host_memory import loading_bytes
from infra.planner.sizing.measured_starts import MeasuredStarts
from infra.planner.sizing.memory import GIB, Engine
from infra.planner.sizing.planned_pool import LOADER, PoolPlan, streamer_bytes
from infra.stackfile.findings.formatting import show
from infra.stackfile.findings.owner_needed import AGREE
from infra.stackfile.schema.pool import PoolConfig
from infra.stackfile.schema.stack import StackConfig
from infra.stackfile.timeouts import Hop

_MOST_SHARE = 1.0
_MOST_MAIN = 0.8  # the system, page cache and the engines themselves take the rest
_MORE_ROOM = "use a pool with more memory a GPU, more GPUs, several machines a replica (nodes), or a quantized build"


def judge_model_plan(model: ModelPlan, demands: Demands, stack: StackConfig) -> Iterator[Problem]:
    """Yield every problem the planner finds with one model."""
    at: Path = ("models", model.name)
    if model.facts is not None:
        yield from judge_model_facts(model.facts, model.pool.gpu, demands, at)
        yield from judge_doubts(model.facts, at)
        yield from _revision(model, at)
        yield from _declared_weights(model, at)
    yield from judge_adapters(model.config, model.facts, dict(model.adapters), demands, at)
    yield from _unknown(model, at)
    yield from _memory(model, at, stack)
    yield from _shared(model, at)
    yield from _host(model, at)
    yield from _held(model, at)
    yield from _slow(model, at)
    for other in model.fallbacks:
        path = (*at, "fallbackPools", model.config.fallback_pools.index(other.pool.name))
        for problem in _of_pool(other, demands, at, stack):
            yield _as_fallback(problem, path, other.pool.name)


def _of_pool(model: ModelPlan, demands: Demands, at: Path, stack: StackConfig) -> Iterator[Problem]:
    """Yield the problems that another pool might solve: those of the card, and of its memory."""
    if model.facts is not None:
        anywhere = list(judge_model_facts(model.facts, None, demands, at))
        here = judge_model_facts(model.facts, model.pool.gpu, demands, at)
        yield from (problem for problem in here if problem not in anywhere)
    yield from (problem for problem in _unknown(model, at) if problem.rule == MEMORY_UNKNOWN)
    yield from _memory(model, at, stack)
    yield from _shared(model, at)
    yield from _host(model, at)


def _as_fallback(problem: Problem, path: Path, pool: str) -> Problem:
    """Return the same finding at the path of the fallback pool: the value it is about moves into the message."""
    value = f"{show(problem.value)} " if problem.has_value else ""
    message = f"as a fall-back: {problem.path[-1]}: {value}{problem.message}"
    fix = f"take it out, or {problem.fix}"
    return replace(problem, path=path, message=message, fix=fix, value=pool, has_value=True)


def _unknown(model: ModelPlan, at: Path) -> Iterator[Problem]:
    if model.facts is None:
        message = f"is not known here: whether it fits, is gated, and wakes in time nobody can judge; {AGREE}"
        fix = f"record it once: ebbtide catalog add {model.config.id} (--model-dir FOLDER where there is no network)"
        yield MODEL_FACTS_UNKNOWN.at(
            (*at, "id"),
            message,
            allowed="a model of the catalogue, or one that is recorded",
            fix=fix,
            value=model.config.id,
        )
    elif model.memory is None and model.pool.device != "cpu" and model.facts.task != "image":
        fix = "say it under gpu.memory of the pool" if model.facts.weights is not None else "give its weight files"
        yield MEMORY_UNKNOWN.at(
            (*at, "pool"),
            f"cannot be planned: {model.why_not}",
            allowed="what the memory plan needs",
            fix=fix,
            value=model.pool.name,
        )
    if model.unfollowed:
        message = f"changes what the memory holds ({', '.join(model.unfollowed)}), which this plan does not follow"
        fix = "rely on the engine's own log for this model"
        yield FLAG_NOT_FOLLOWED.at((*at, "extraArgs"), message, allowed="flags whose memory is known", fix=fix)


def _memory(model: ModelPlan, at: Path, stack: StackConfig) -> Iterator[Problem]:
    plan, facts, engine = model.memory, model.facts, model.engine
    if plan is None or facts is None or engine is None or fit.starts(facts, plan):
        return
    # a flag this plan does not follow may also make the model fit: then this is only a warning
    severity: Severity = "warning" if model.unfollowed else "error"
    gpus = model.config.gpus
    if not plan.loads:
        message = f"GPU{'s' if gpus > 1 else ''} cannot hold the weights of {facts.id}: {plan.description()}"
        better = smallest(stack, facts, engine, model.starts)
        fix = f"use {better}" if better else _MORE_ROOM
        yield WEIGHTS_DO_NOT_FIT.at(
            (*at, "gpus"), message, allowed=better or "GPUs with more memory", fix=fix, value=gpus, severity=severity
        )
    elif plan.fits:  # and yet it does not start
        most = plan.state_blocks or 0
        message = (
            f"is more than the {most:,} blocks that its layers with a state have room for, one for each sequence: the "
            f"engine stops at its start: {plan.description()}"
        )
        yield MORE_SEQUENCES_THAN_STATES.at(
            (*at, "maxSequences"),
            message,
            allowed=f"1..{most}",
            fix=f"set maxSequences: {most}, or use more memory",
            value=model.config.max_sequences,
            severity=severity,
        )
    else:
        most = plan.longest_context
        message = f"is more than one sequence's KV cache has room for: {plan.description()}"
        better = smallest(stack, facts, engine, model.starts)
        fix = (
            f"set maxTokens: {most}" + (f", or use {better}" if better else "")
            if most
            else f"use {better or 'more GPUs'}"
        )
        allowed = f"1..{most}" if most else better or "GPUs with more memory"
        yield CONTEXT_DOES_NOT_FIT.at(
            (*at, "maxTokens"), message, allowed=allowed, fix=fix, value=model.config.max_tokens, severity=severity
        )


def judge_memory_of_pool(pool: PoolConfig) -> Iterator[Problem]:
    """Check that a pool's own figure is no more than CUDA gives a program of such a card."""
    known, own = gpus().get(pool.gpu.product or ""), pool.gpu.memory
    if known is None or own is None or pool.machine is not None or pool.device == "cpu":
        return
    if own.bytes <= known.usable_gib * GIB:
        return
    there = int(known.usable_gib * 100) / 100
    message = f"is more than CUDA gives a program of a card of {pool.gpu.product}, {there:g} GiB: that counts"
    yield GPU_MEMORY_OVERSTATED.at(
        ("pools", pool.name, "gpu", "memory"),
        message,
        allowed=f"at most {there:g}Gi",
        fix="leave it out, or write what the engine's log or torch.cuda.mem_get_info() says",
        value=str(own),
    )


def smallest(stack: StackConfig, facts: ModelFacts, engine: Engine, starts: MeasuredStarts) -> str | None:
    """Return the cheapest machine of the stack's place on which the model fits, with its split and price; None where
    the place sells no machines or the model fits on none."""
    if not kind_of(stack.platform).makes_nodes:
        return None
    return _smallest(stack.platform.kind, stack.platform.region, _Key(facts, starts), engine)


class _Key:
    """Hashable key of facts and measured starts, whose mappings cannot be hashed."""

    def __init__(self, facts: ModelFacts, starts: MeasuredStarts) -> None:
        self.facts, self.starts = facts, starts

    def __hash__(self) -> int:
        return hash((self.facts.id, self.facts.dtype))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and (self.facts, self.starts) == (other.facts, other.starts)


@lru_cache(maxsize=1024)
def _smallest(place: str, region: str | None, key: _Key, engine: Engine) -> str | None:
    # a single machine, and for each card the engine's own default of tokens in a step
    alone = replace(engine, max_batched_tokens=0, pipeline_parallel=1, steps_in_flight=2)
    ranked = fit.ranked(key.facts, machines(place).values(), alone, region, measured=key.starts)
    if not ranked:
        return None
    best = ranked[0]
    price = f", {best.card.usd_per_hour:.2f} USD an hour" if best.card.usd_per_hour else ""
    return f"{best.card.name} with gpus: {best.tensor_parallel} ({best.card.gpus} × {best.card.product}{price})"


def _shared(model: ModelPlan, at: Path) -> Iterator[Problem]:
    pool, share, path = model.pool, model.config.gpu_memory_utilization, (*at, "gpuMemoryUtilization")
    if pool.sharers > 1 and pool.sharers * share > _MOST_SHARE:
        most = int(100 * _MOST_SHARE / pool.sharers) / 100
        message = f"is taken by each of the {pool.sharers} pods that share a card of pool {pool.name}: the second fails"
        yield SHARED_MEMORY_EXCEEDED.at(
            path, message, allowed=f"at most {most}", fix=f"set gpuMemoryUtilization: {most}", value=share
        )
    if pool.turns and pool.gpu_bytes and pool.device != "cpu":
        most = int(100 * (1 - pool.asleep_bytes / pool.gpu_bytes)) / 100
        if share > most:
            others = pool.turns - 1
            message = f"leaves too little of a card of pool {pool.name} to the {others} engines that sleep on it"
            fix = f"set gpuMemoryUtilization: {most}" if most > 0 else "let fewer models take turns"
            yield TURNS_MEMORY_EXCEEDED.at(
                path, message, allowed=f"at most {most}" if most > 0 else "a smaller number", fix=fix, value=share
            )


def _host(model: ModelPlan, at: Path) -> Iterator[Problem]:
    """Check the machine's main memory while its engines load: the streamer's buffers, and the processes."""
    machine, facts, gpus, pool = model.pool.machine, model.facts, model.config.gpus, model.pool
    if machine is None or facts is None or pool.device == "cpu":
        return
    own = streamer_bytes(model.config)
    needed = loading_bytes(model.fetched, gpus, own)
    # of engines that take turns one loads at a time; for what the others keep there is a finding of its own
    there = there_bytes(machine.memory_gib, gpus, pool.gpus_per_node // max(1, pool.turns))
    if needed is None or needed <= there:
        return
    message = (
        f"leaves {there / GIB:.1f} GiB of main memory to this replica's {gpus} GPU{'s' if gpus > 1 else ''}, and "
        f"loading takes up to {needed / GIB:.1f}: it is slow, and the pod may be killed while it loads"
    )
    fix = "use a machine with more memory" + (f", or lower {LOADER}.memory_limit" if own is not None else "")
    yield HOST_MEMORY_SHORT.at(
        (*at, "pool"), message, allowed="a machine whose memory holds what loads", fix=fix, value=pool.name
    )


def judge_asleep(pool: PoolPlan, models: Iterable[ModelPlan]) -> Iterator[Problem]:
    """Check that main memory holds the weights of sleeping engines: the largest that can share one machine."""
    if not pool.turns or pool.machine is None:
        return
    known = [model.facts.weights.total for model in models if model.facts is not None and model.facts.weights]
    asleep, most = sum(sorted(known, reverse=True)[: pool.turns - 1]), pool.machine.memory_gib * GIB * _MOST_MAIN
    if asleep > most:
        message = (
            f"puts {asleep / GIB:.0f} GiB of weights into main memory while they sleep, and {pool.machine.name} has "
            f"{pool.machine.memory_gib:g} GiB"
        )
        fix = "let fewer models take turns, or take a machine with more memory"
        yield SLEEPING_WEIGHTS_FILL_MEMORY.at(
            ("pools", pool.name, "sharing", "turns", "models"),
            message,
            allowed=f"weights of {most / GIB:.0f} GiB at most",
            fix=fix,
            value=pool.turns,
        )


def _revision(model: ModelPlan, at: Path) -> Iterator[Problem]:
    facts = model.facts
    if facts is not None and facts.revision is not None and facts.revision != model.config.revision:
        message = f"is another commit than the facts of this plan are of, {facts.revision}"
        fix = "plan with the files of this commit (--model-dir), or take that commit"
        yield FACTS_OF_ANOTHER_COMMIT.at(
            (*at, "revision"), message, allowed="the commit the facts are of", fix=fix, value=model.config.revision
        )


def _declared_weights(model: ModelPlan, at: Path) -> Iterator[Problem]:
    declared, facts = model.config.weights, model.facts
    held = facts.disk_bytes if facts else None
    # a size written in whole GiB may be rounded down by less than one GiB
    if declared is not None and held is not None and declared.bytes + 2**30 <= held:
        need = -(-held // 2**30)
        message = f"is less than its files take, {held / 2**30:.1f} GiB: the disk is judged by too little"
        fix = f"set weights: {need}Gi"
        yield WEIGHTS_UNDERSTATED.at(
            (*at, "weights"), message, allowed=f"{need}Gi or more", fix=fix, value=str(declared)
        )


def _held(model: ModelPlan, at: Path) -> Iterator[Problem]:
    """Yield a problem for the first hop that gives up during the hold, else during hold and guard wait together."""
    held = model.config.hold.seconds
    for hop in _cutting(model.hops, held):
        fix = f"set hold: {hop.seconds}s or less" + (f", or raise it at {hop.setting}" if hop.setting else "")
        message = f"is longer than the {hop.name} lets a request wait, {hop.seconds} s: it cuts what is still held"
        yield HOLD_CUT_BY_HOP.at(
            (*at, "hold"), message, allowed=f"at most {hop.seconds}s", fix=fix, value=str(model.config.hold)
        )
        return
    for hop in _cutting(model.hops, model.silence):
        message = (
            f"and the wait for a full guard make {model.silence} s of silence, and the {hop.name} gives up after "
            f"{hop.seconds} s: who waits for the guard may be cut off during the wake"
        )
        fix = f"set guard.waitLimit: {max(1, (hop.seconds or 0) - held)}s or less, or whenFull: refuse"
        yield GUARD_WAIT_CUT_BY_HOP.at(
            (*at, "hold"), message, allowed=f"at most {hop.seconds} s together", fix=fix, value=str(model.config.hold)
        )
        return


def _cutting(hops: Iterable[Hop], seconds: int) -> list[Hop]:
    """Return the hops that cut a silence or a whole request of ``seconds``, the first to do so first."""
    cutting = [h for h in hops if h.cuts in ("held request", "whole request") and h.seconds is not None]
    others = [h for h in cutting if h.name not in ("client", "interceptor")]  # both derive from the hold
    return sorted((h for h in others if (h.seconds or 0) < seconds), key=lambda h: h.seconds or 0)


def _slow(model: ModelPlan, at: Path) -> Iterator[Problem]:
    reckoned = model.cold.cold
    if reckoned <= model.config.cold_start.seconds:
        return
    least = f"{-(-int(reckoned + 1) // 60)}m"
    unknown = f", without {', '.join(model.cold.unknown)}" if model.cold.unknown else ""
    message = (
        f"is shorter than a wake is reckoned to take, {reckoned:.0f} s{unknown}; most of it is the phase "
        f"'{model.cold.dominant.name}' ({model.cold.dominant.seconds:.0f} s)"
    )
    fix = f"set coldStart: {least}, or shorten that phase: {model.cold.advice}"
    yield COLD_START_TOO_SHORT.at(
        (*at, "coldStart"), message, allowed=f"{least} or more", fix=fix, value=str(model.config.cold_start)
    )
