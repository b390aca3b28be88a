"""Plan of a stack that may be built: memory, cold path, time-outs, cost, findings. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from components.idle_scaling.timing import rhythm
from components.platforms.kinds import kind_of
from components.typed.refusal import Problem
from components.typed.rules.stack import (
    COST_CEILING,
    GPU_CEILING,
    STANDING_CEILING,
    SYSTEM_MACHINE_UNPRICED,
    SYSTEM_NODES_CEILING,
)
from infra.planner import cost as costs
from infra.planner.checks import judge_asleep, judge_memory_of_pool, judge_model_plan
from infra.planner.cold_path import cold_path
from infra.planner.cost import Cost
from infra.planner.facts import adapters
from infra.planner.facts.adapters import AdapterFacts
from infra.planner.facts.model_facts import ModelFacts
from infra.planner.model_plan import ModelPlan
from infra.planner.sizing import measured_starts
from infra.planner.sizing.compatibility import Demands
from infra.planner.sizing.measured_starts import MeasuredStarts, Start
from infra.planner.sizing.memory import Engine, MemoryPlan
from infra.planner.sizing.planned_pool import (
    PoolPlan,
    as_loaded,
    engine_cuda,
    engine_of,
    flags,
    overridden_context,
    pool_plan,
    quantized_on_load,
    unfollowed,
)
from infra.stackfile import timeouts
from infra.stackfile.findings.owner_needed import AGREE
from infra.stackfile.limits import Ceiling, limits
from infra.stackfile.schema.model import ModelConfig
from infra.stackfile.schema.stack import StackConfig
from infra.stackfile.timeouts import Front, Timers, front, silence_seconds

FactsOf = Callable[[str], ModelFacts | None]
AdapterOf = Callable[[str], AdapterFacts | None]
Measured = Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Plan of the whole stack. ``problems`` are what the planner finds beyond the stack file's own rules, in order."""

    stack: StackConfig
    pools: tuple[PoolPlan, ...]
    models: tuple[ModelPlan, ...]
    cost: Cost
    front: Front
    problems: tuple[Problem, ...]

    @property
    def region(self) -> str | None:
        return self.stack.platform.region

    def pool(self, name: str) -> PoolPlan:
        return next(pool for pool in self.pools if pool.name == name)


def plan_stack(
    stack: StackConfig,
    facts_of: FactsOf,
    measured: Mapping[str, Measured] | None = None,
    starts: MeasuredStarts = measured_starts.NONE,
    adapter_of: AdapterOf = adapters.NONE.find,
) -> Plan:
    """Plan a stack. ``facts_of`` returns the facts for a model id, None where nothing is known, ``adapter_of`` those
    for an adapter's. ``measured`` are seconds by phase under a model's name, or under ``*`` for all models, that
    replace the table's; ``starts`` are what engines took of their GPUs."""
    cuda, judge_driver = engine_cuda(stack.image.base), stack.gpu_layer_install != "helm"
    pools = {name: pool_plan(pool, cuda, judge_driver) for name, pool in stack.pools.items()}
    before = front(stack)
    known = {model.id: facts_of(model.id) for model in stack.models.values()}
    seconds = measured or {}
    models = tuple(
        replace(
            _everywhere(
                stack,
                model,
                [pools[each] for each in model.pools if each in pools],
                known[model.id],
                before,
                {**seconds.get("*", {}), **seconds.get(name, {})},
                starts,
            ),
            adapters={each: adapter_of(adapter.id) for each, adapter in model.adapters.items()},
        )
        for name, model in stack.models.items()
        if model.pool in pools
    )
    cost = costs.cost(stack)
    problems = (*_problems(stack, models, pools.values()), *judge_ceilings(stack, pools.values(), cost))
    return Plan(stack=stack, pools=tuple(pools.values()), models=models, cost=cost, front=before, problems=problems)


def _everywhere(
    stack: StackConfig,
    model: ModelConfig,
    pools: Sequence[PoolPlan],
    source_facts: ModelFacts | None,
    before: Front,
    measured: Measured,
    starts: MeasuredStarts,
) -> ModelPlan:
    first, *others = (_model(stack, model, pool, source_facts, before, measured, starts) for pool in pools)
    return replace(first, fallbacks=tuple(others))


def _model(
    stack: StackConfig,
    model: ModelConfig,
    pool: PoolPlan,
    source_facts: ModelFacts | None,
    before: Front,
    measured: Measured,
    starts: MeasuredStarts,
) -> ModelPlan:
    fetched = as_loaded(source_facts, model.dtype) if source_facts is not None else None
    facts = quantized_on_load(fetched, model.quantization) if fetched is not None else None
    if facts is not None and (longer := overridden_context(facts, model)) is not None:
        facts = replace(facts, context=longer)
    engine = engine_of(model, pool.gpu_bytes or 0, pool.product)
    starts = _usable(model, pool, starts)
    planned, why_not = _memory(facts, pool, engine, starts.find(model.id, pool.product))
    weights = _weights_of_node(fetched, model)
    path = cold_path(stack.platform.kind, int(limits().engine_image.pulled_gb * 10**9), weights, measured)
    timers = Timers(
        name=model.name,
        cold_start=model.cold_start.seconds,
        hold=model.hold.seconds,
        idle_ttl=model.idle_ttl.seconds,
        drain=model.drain.seconds,
        window=rhythm(len(stack.models)).window_seconds,
    )
    hops = timeouts.chain(timers, before.seconds, stack.platform.kind, before.rollout_seconds)
    first = timeouts.shortest(hops, ("held request", "whole request"))
    return ModelPlan(
        config=model,
        pool=pool,
        facts=facts,
        fetched=weights,
        engine=engine,
        memory=planned,
        why_not=why_not,
        unfollowed=unfollowed(model),
        cold=path,
        hops=hops,
        shortest=first,
        silence=silence_seconds(stack, model),
        starts=starts,
    )


def _usable(model: ModelConfig, pool: PoolPlan, starts: MeasuredStarts) -> MeasuredStarts:
    """Return the measured starts that may say something of a model on a pool. A part of a card is no card; an engine
    that can sleep, of another implementation, or that quantizes, takes other memory; and so may flags that none of them
    had."""
    part = pool.slice or (pool.machine is not None and pool.machine.part)
    other = part or pool.turns or model.engine != "auto" or model.quantization
    return measured_starts.NONE if other or measured_starts.unmeasured(flags(model.extra_args)) else starts


def _memory(
    facts: ModelFacts | None, pool: PoolPlan, engine: Engine, starts: Sequence[Start]
) -> tuple[MemoryPlan | None, str | None]:
    if facts is None:
        return None, "nothing is known of this model here"
    if pool.device == "cpu":
        return None, "computes on the CPU: its cache lies in main memory (kvCache)"
    if facts.weights is None:
        return None, "the size of its weights is unknown"
    if pool.gpu_bytes is None:
        return None, "the memory of the pool's GPUs is unknown"
    if facts.task == "image":
        return None, "an image model keeps no KV cache"
    return measured_starts.plan(facts, pool.gpu_bytes, engine, starts), None


def _weights_of_node(facts: ModelFacts | None, model: ModelConfig) -> int | None:
    """Return the bytes one replica fetches: from the facts, else from the stack file; None where neither knows. All
    weights count, however many GPUs share them: the GPUs have one node's network, and no measurement of more is known.
    With several machines each fetches its part, and any of them may fetch all."""
    if facts is not None and facts.weights is not None:
        return facts.weights.total
    return model.weights.bytes if model.weights else None


def demands(stack: StackConfig, model: ModelConfig) -> Demands:
    """Return what the stack asks of a model, in the terms of ``compatibility.py``."""
    engine_flags = flags(model.extra_args)
    return Demands(
        task=model.task,
        tensor_parallel=model.split[0],
        pipeline_parallel=model.split[1],
        split_key="gpus" if model.tensor_parallel is None else "tensorParallel",
        context=model.max_tokens,
        dtype=model.dtype,
        kv_dtype=engine_flags.get("--kv-cache-dtype", "auto"),
        expert_parallel="--enable-expert-parallel" in engine_flags,
        scaled="rope" in engine_flags.get("--hf-overrides", ""),
        engine=model.engine,
        quantization=model.quantization,
        licence_accepted=model.licence_accepted,
        pickle_accepted=model.allow_pickle,
        streamed=kind_of(stack.platform).makes_nodes,  # such a place keeps the weights in its own bucket
        plugins=frozenset(re.split(r"[=\[]", package, maxsplit=1)[0].lower() for package in stack.image.extra_packages),
    )


def _problems(stack: StackConfig, models: tuple[ModelPlan, ...], pools: Iterable[PoolPlan]) -> Iterator[Problem]:
    for model in models:
        yield from judge_model_plan(model, demands(stack, model.config), stack)
    for declared in stack.pools.values():
        yield from judge_memory_of_pool(declared)
    for pool in pools:
        yield from judge_asleep(pool, [model for model in models if pool.name in model.config.pools])


# Ceilings: the GPUs and dollars an environment allows one stack with every pool at its max, whatever its guard says;
# apart from these what stands without GPU nodes, which no pool's max bounds.
#
# The figures are in ``infra/stackfile/limits.yaml``.

_AT = ("pools",)
_SYSTEM = ("platform", "cluster", "systemPool")


def judge_ceilings(stack: StackConfig, pools: Iterable[PoolPlan], cost: Cost) -> Iterator[Problem]:
    """Yield a problem for each ceiling of the environment (GPUs, dollars an hour) that the stack exceeds."""
    ceiling, where = limits().ceiling(stack.environment), stack.environment
    held = {pool.name: pool.max * pool.gpus_per_node for pool in pools if pool.device != "cpu"}
    gpus = sum(held.values())
    if gpus > ceiling.gpus:
        sums = ", ".join(f"{name} {count}" for name, count in held.items())
        message = f"may hold {gpus} GPUs at their max ({sums}), more than {where} allows"
        allowed, fix = f"at most {ceiling.gpus} GPUs", "lower max of a pool, or have the ceiling raised"
        yield GPU_CEILING.at(_AT, message, allowed=allowed, fix=fix)
    total = cost.gpu_nodes.ceiling
    if total > ceiling.dollars_per_hour:
        message = f"cost {total:.2f} US dollars an hour at their max, more than {where} allows"
        allowed = f"at most {ceiling.dollars_per_hour:.2f}"
        fix = "lower max of a pool, take a cheaper machine, or have the ceiling raised"
        yield COST_CEILING.at(_AT, message, allowed=allowed, fix=fix)
    yield from _judge_standing(ceiling, where, cost)


def _judge_standing(ceiling: Ceiling, where: str, cost: Cost) -> Iterator[Problem]:
    most, total = ceiling.standing_dollars_per_hour, cost.standing_at_most
    if total > most:
        dearest = sorted(cost.standing, key=lambda line: -line.most * (line.highest or 0))[:3]
        sums = ", ".join(f"{line.what} {line.most * (line.highest or 0):.2f}" for line in dearest)
        message = f"stands without GPU nodes at up to {total:.2f} US dollars an hour ({sums}), more than {where} allows"
        fix = "lower max of cluster.systemPool, take a smaller machine there, or have the ceiling raised"
        yield STANDING_CEILING.at(("platform",), message, allowed=f"at most {most:.2f}", fix=fix)
    for line in cost.standing:
        if line.machine is None:
            continue
        if line.most > ceiling.system_nodes:
            message, allowed = f"is more system nodes than {where} allows", f"at most {ceiling.system_nodes}"
            fix = f"set max: {ceiling.system_nodes}, or have the ceiling raised"
            yield SYSTEM_NODES_CEILING.at((*_SYSTEM, "max"), message, allowed=allowed, fix=fix, value=int(line.most))
        if line.highest is None:
            message = (
                f"has no price that anybody has looked up, so nothing bounds what {line.most:g} nodes cost: {AGREE}"
            )
            yield SYSTEM_MACHINE_UNPRICED.at((*_SYSTEM, "machine"), message, value=line.machine)
