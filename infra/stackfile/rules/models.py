"""Rules between the fields of one model and the pool it runs on. Each needs only the fields it names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from components.model_service.managed_flags import (
    MANAGED_FLAGS,
    MANAGED_VARIABLES,
    UNSAFE_VARIABLES,
    managed_flag,
    secret_flag,
    unsafe_flag,
)
from components.model_service.timing import CANARY_FAILURES, CANARY_PERIOD_SECONDS
from components.typed.refusal import Path, Problem
from components.typed.rules.file import HOLD_BELOW_COLD_START, KV_CACHE_INVALID, STALL_TOO_SHORT
from components.typed.rules.pools import SHARING_INVALID, SLEEP_TTL_TOO_LONG, SLEEP_TTL_WITHOUT_TURNS
from components.typed.rules.stack import (
    DANGEROUS_FLAG,
    FLAG_MANAGED,
    GPUS_EXCEED_NODE,
    IDLE_TTL_BELOW_COLD_START,
    IDLE_TTL_TOO_LONG,
    IDLE_TTL_UNUSED,
    POOL_UNKNOWN,
)
from infra.stackfile.limits import limits
from infra.stackfile.partial import Draft, Part
from infra.stackfile.rules.adapters import judge_adapters
from infra.stackfile.rules.engine_flags import judge_flags
from infra.stackfile.rules.fallback import judge_fallback
from infra.stackfile.rules.min_and_reason import more_than_max, without_reason
from infra.stackfile.rules.model_kind import judge_kind
from infra.stackfile.rules.schedules import judge_schedules
from infra.stackfile.rules.split_replicas import judge_nodes
from infra.stackfile.schema.model import ModelConfig
from infra.stackfile.schema.pool import PoolConfig

GIB = 2**30
SHORTEST_STALL_SECONDS = (CANARY_FAILURES - 1) * CANARY_PERIOD_SECONDS


def judge_model(part: Part[ModelConfig], at: Path, draft: Draft) -> Iterator[Problem]:
    """Yield all problems of one model at path ``at`` that its own fields do not show alone."""
    yield from _replicas(part, at)
    if part.sound("min", "min_reason"):
        yield from without_reason(at, part.value.min, part.value.min_reason, draft)
    yield from _times(part, at)
    yield from _longest_idle(part, at, draft)
    yield from judge_schedules(part, at, draft)
    if part.sound("pool"):
        yield from _pool(part, at, draft)
    yield from judge_nodes(part, at, draft)
    yield from judge_fallback(part, at, draft)
    yield from judge_kind(part, at, draft)
    yield from judge_adapters(part, at, draft)
    yield from _arguments(part.raw.get("extraArgs"), at)
    yield from judge_flags(part.raw.get("extraArgs"), at, draft)
    yield from _variables(part.raw.get("extraEnv"), at, draft)


def _replicas(part: Part[ModelConfig], at: Path) -> Iterator[Problem]:
    model = part.value
    if part.sound("min", "max") and model.min > model.max:
        yield more_than_max(at, model.min, model.max)
    if part.sound("min", "idle_ttl") and model.min > 0 and "idle_ttl" in model.model_fields_set:
        yield IDLE_TTL_UNUSED.at(
            (*at, "idleTtl"),
            f"has no effect: min is {model.min}, so it never goes to zero",
            allowed="an idleTtl where min is 0",
            fix="take idleTtl out, or set min: 0",
            value=str(model.idle_ttl),
        )


def _longest_idle(part: Part[ModelConfig], at: Path, draft: Draft) -> Iterator[Problem]:
    """Check the idle TTL outside production: with a timer of days a model never sleeps."""
    most = limits().longest_idle_outside_prod
    if part.sound("idle_ttl") and draft.environment not in (None, "prod") and part.value.idle_ttl > most:
        message = f"is longer than an idle model may stay up in {draft.environment}"
        yield IDLE_TTL_TOO_LONG.at(
            (*at, "idleTtl"),
            message,
            allowed=f"at most {most}",
            fix=f"set idleTtl: {most} or less",
            value=str(part.value.idle_ttl),
        )


def _times(part: Part[ModelConfig], at: Path) -> Iterator[Problem]:
    model = part.value
    if part.sound("idle_ttl", "cold_start") and model.idle_ttl < model.cold_start:
        yield IDLE_TTL_BELOW_COLD_START.at(
            (*at, "idleTtl"),
            f"is shorter than coldStart, {model.cold_start}: the idle timer would end a model that still loads",
            allowed=f"{model.cold_start} or more",
            fix=f"set idleTtl: {model.cold_start}, or a lower coldStart if a load never takes that long",
            value=str(model.idle_ttl),
        )
    if part.sound("sleep_ttl", "idle_ttl") and model.sleep_ttl is not None and model.sleep_ttl >= model.idle_ttl:
        message = f"is no shorter than idleTtl, {model.idle_ttl}: the model would be gone before it sleeps"
        fix = "set a longer idleTtl, or leave sleepTtl out"
        yield SLEEP_TTL_TOO_LONG.at(
            (*at, "sleepTtl"), message, allowed=f"less than {model.idle_ttl}", fix=fix, value=str(model.sleep_ttl)
        )
    if part.sound("hold", "cold_start") and model.hold < model.cold_start:
        yield HOLD_BELOW_COLD_START.at(
            (*at, "hold"),
            f"is shorter than coldStart, {model.cold_start}: a request would be given up during a load that goes well",
            allowed=f"{model.cold_start} or more",
            fix="leave hold out for one and a half times coldStart",
            value=str(model.hold),
        )
    if part.sound("stall") and model.stall.seconds < SHORTEST_STALL_SECONDS:
        message = "is shorter than three probes of the engine take, a minute apart"
        fix = "leave stall out for 5m, or set it above the longest prefill"
        yield STALL_TOO_SHORT.at((*at, "stall"), message, allowed="2m or more", fix=fix, value=str(model.stall))


def _pool(part: Part[ModelConfig], at: Path, draft: Draft) -> Iterator[Problem]:
    model = part.value
    if model.pool not in draft.pool_names:
        names = ", ".join(draft.pool_names) or "none: there is no pool yet"
        fix = f"use one of them, or add {model.pool} under pools"
        yield POOL_UNKNOWN.at((*at, "pool"), "is not a pool of this stack", allowed=names, fix=fix, value=model.pool)
        return
    pool = draft.pools.get(model.pool)
    if pool is None:
        return
    if part.sound("gpus") and pool.sound("sharing") and pool.value.sharing is not None and model.gpus > 1:
        message = f"is more than one, and the cards of pool {model.pool} are shared: slices do not work together"
        fix = "set gpus: 1, or use a pool without sharing"
        yield SHARING_INVALID.at((*at, "gpus"), message, allowed="1", fix=fix, value=model.gpus)
        return
    if part.sound("gpus") and pool.sound("gpu") and model.gpus > pool.value.gpu.count:
        count = pool.value.gpu.count
        yield GPUS_EXCEED_NODE.at(
            (*at, "gpus"),
            f"is more than a node of pool {model.pool} has, which is {count}",
            allowed="1" if count == 1 else f"1..{count}",
            fix=f"set gpus: {count}, or use a pool with more GPUs a node",
            value=model.gpus,
        )
    if part.sound("sleep_ttl") and pool.sound("sharing") and model.sleep_ttl is not None:
        sharing = pool.value.sharing
        if sharing is None or sharing.turns is None:
            message = f"has no effect: the models of pool {model.pool} do not take turns, and an engine keeps its card"
            fix = "leave it out; idleTtl lets the card go. Or write sharing: {turns: {models: 4}} for the pool"
            yield SLEEP_TTL_WITHOUT_TURNS.at(
                (*at, "sleepTtl"), message, allowed="on a pool with turns", fix=fix, value=str(model.sleep_ttl)
            )
    if part.sound("kv_cache") and pool.sound("device"):
        yield from _kv_cache(model, pool.value, at)


def _kv_cache(model: ModelConfig, pool: PoolConfig, at: Path) -> Iterator[Problem]:
    if model.kv_cache is None:
        return
    if pool.device != "cpu":
        message = f"has no effect: pool {model.pool} computes on {pool.device}, where the GPU's memory holds it"
        fix = "take kvCache out; gpuMemoryUtilization sets the share of the GPU's memory"
        yield KV_CACHE_INVALID.at(
            (*at, "kvCache"), message, allowed="kvCache on a pool with device: cpu", fix=fix, value=str(model.kv_cache)
        )
    elif model.kv_cache.bytes % GIB:
        near = max(1, round(model.kv_cache.gib))
        message, fix = "is not a whole number of GiB", f"set kvCache: {near}Gi"
        yield KV_CACHE_INVALID.at(
            (*at, "kvCache"), message, allowed="whole GiB, like 1Gi", fix=fix, value=str(model.kv_cache)
        )


# Arguments and variables are judged from the raw values, so that one of a wrong type does not hide the others.


def _arguments(raw: Any, at: Path) -> Iterator[Problem]:
    for index, argument in enumerate(raw if isinstance(raw, list) else []):
        if not isinstance(argument, str):
            continue
        path = (*at, "extraArgs", index)
        managed, unsafe = managed_flag(argument), unsafe_flag(argument)
        if secret_flag(argument):
            continue  # cleartext_secrets.py reports it, as a secret
        if managed:
            message = f"overrides {managed}, which the product sets"
            yield FLAG_MANAGED.at(
                path, message, allowed="flags the product does not set", fix=MANAGED_FLAGS[managed], value=argument
            )
        elif unsafe:
            yield _unsafe(path, argument)


def _variables(raw: Any, at: Path, draft: Draft) -> Iterator[Problem]:
    for name, value in raw.items() if isinstance(raw, Mapping) else ():
        path = (*at, "extraEnv", name)
        if UNSAFE_VARIABLES.fullmatch(name):
            yield _unsafe(path, value)
        elif name in MANAGED_VARIABLES and path not in draft.secrets:  # cleartext_secrets.py reports it, as a secret
            message, fix = "overrides a variable the product sets", MANAGED_VARIABLES[name]
            yield FLAG_MANAGED.at(path, message, allowed="variables the product does not set", fix=fix, value=value)


def _unsafe(path: Path, value: Any) -> Problem:
    return DANGEROUS_FLAG.at(
        path,
        "opens the engine's development, profiling or tool interface to whoever reaches the pod",
        allowed="an engine that only answers requests",
        fix="take it out",
        value=value,
    )
