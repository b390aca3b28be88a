"""A plan as plain data: what ``--format json`` prints, and what every other format is built from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.platforms.standing import HOURS_A_MONTH, Line
from infra.planner.cost import Bounds, Cost, ModelCost, PoolCost, month
from infra.planner.model_plan import ModelPlan
from infra.planner.plan import Plan
from infra.planner.sizing.fit import starts
from infra.planner.sizing.planned_pool import PoolPlan
from infra.stackfile.findings.finding import Finding
from infra.stackfile.findings.registry import rules

Document = dict[str, Any]


@dataclass(frozen=True)
class ResourceCounts:
    """Counts of a stack's resources. ``components`` are those of ``total`` that only hold others together."""

    total: int
    components: int
    by_type: Mapping[str, int]


def document(
    stack: str,
    file: str,
    findings: Sequence[Finding],
    plan: Plan | None,
    graph: ResourceCounts | None,
    notes: Iterable[str] = (),
) -> Document:
    """Return the plan as data: money in US dollars, times in seconds, sizes in bytes; null is unknown. ``plan`` None:
    nothing could be planned from the stack file, and the findings say why."""
    return {
        "stack": stack,
        "file": file,
        "environment": plan.stack.environment if plan else None,
        "place": {"kind": plan.stack.platform.kind, "region": plan.region} if plan else None,
        "verdict": verdict(findings),
        "findings": [finding_of(each) for each in findings],
        "policies": policies(findings),
        "models": [_model(model, plan.cost) for model in plan.models] if plan else [],
        "pools": [_pool(pool, plan) for pool in plan.pools] if plan else [],
        "cost": _cost(plan.cost) if plan else None,
        "cold_path": [_cold(model) for model in plan.models] if plan else [],
        "timeouts": [_timeouts(model, plan) for model in plan.models] if plan else [],
        "graph": _graph(graph),
        "changes": None,
        "notes": list(notes),
    }


def verdict(findings: Iterable[Finding]) -> str:
    """Return ``errors`` (nothing may be created), ``warnings`` or ``clean``."""
    all_findings = list(findings)
    return "errors" if any(f.stops for f in all_findings) else "warnings" if all_findings else "clean"


def policies(findings: Iterable[Finding]) -> list[Document]:
    """Return the verdict on every policy that a rule can report: ``holds``, ``waived`` or ``violated``."""
    policy_findings = [finding for finding in findings if finding.policy is not None]
    states = {policy: "holds" for rule in rules() for policy in rule.policies}
    states |= {str(finding.policy): "waived" for finding in policy_findings if finding.waiver is not None}
    states |= {str(finding.policy): "violated" for finding in policy_findings if finding.stops}
    return [
        {"id": policy, "state": state, "findings": sorted({f.code for f in policy_findings if f.policy == policy})}
        for policy, state in sorted(states.items())
    ]


def finding_of(finding: Finding) -> Document:
    """Return one finding under the names every output uses."""
    return {
        "code": finding.code,
        "severity": finding.severity,
        "file": finding.file,
        "path": finding.path,
        "value": finding.value,
        "allowed": finding.allowed,
        "message": finding.message,
        "fix": finding.fix,
    }


def _model(model: ModelPlan, cost: Cost) -> Document:
    config, facts, memory = model.config, model.facts, model.memory
    own = next((each for each in cost.models if each.name == model.name), None)
    return {
        "name": model.name,
        "id": config.id,
        "revision": config.revision,
        "aliases": list(config.aliases),
        "pool": config.pool,
        "fallback_pools": list(config.fallback_pools),
        "long_prompts": config.long_prompts,
        "machine": model.pool.machine.name if model.pool.machine else None,
        "gpu": model.pool.product,
        "device": model.pool.device,
        "gpus": config.gpus,
        "nodes": config.nodes,
        "tensor_parallel": config.split[0],
        "pipeline_parallel": config.split[1],
        "min": config.min,
        "max": config.max,
        "context_tokens": config.max_tokens,
        "max_sequences": config.max_sequences,
        "facts": {
            "source": facts.source,
            "revision": facts.revision,
            "architecture": facts.architecture,
            "task": facts.task,
            "parameters": facts.parameters,
            "dtype": facts.dtype,
            "quantization": facts.quantization,
            "context_tokens": facts.context,
            "weights_bytes": facts.weights.total if facts.weights else None,
            "weights_from": facts.weights.source if facts.weights else "unknown",
            "licence": facts.licence,
            "gated": facts.gated,
        }
        if facts
        else None,
        "memory": {
            **{key: value for key, value in vars(memory).items() if key != "sequences"},
            "sequences_at_context": int(min(memory.sequences, 10**9)),
            "max_batched_tokens": model.engine.max_batched_tokens if model.engine else None,
            "fits": _fits(model),
            "told": memory.description(),
        }
        if memory
        else None,
        "memory_unknown": model.why_not,
        "fallbacks": [_fallback(each) for each in model.fallbacks],
        "cost": _model_cost(own),
    }


def _fits(model: ModelPlan) -> bool | None:
    """Return True if the model fits; None where its memory cannot be planned."""
    memory, facts = model.memory, model.facts
    return starts(facts, memory) if memory and facts else None


def _fallback(model: ModelPlan) -> Document:
    """Return the same model on one of its fallback pools."""
    return {
        "pool": model.pool.name,
        "machine": model.pool.machine.name if model.pool.machine else None,
        "gpu": model.pool.product,
        "fits": _fits(model),
        "told": model.memory.description() if model.memory else None,
        "memory_unknown": model.why_not,
    }


def _model_cost(own: ModelCost | None) -> Document | None:
    if own is None:
        return None
    return {
        **bounds(own),
        "one_replica_usd_per_hour": own.one_replica,
        "kept_warm_hours_per_week": round(own.warm_hours, 2),
    }


def bounds(of: Bounds | ModelCost | PoolCost | Line) -> Document:
    """Return floor and ceiling per hour and per month."""
    return {
        "floor_usd_per_hour": of.floor,
        "ceiling_usd_per_hour": of.ceiling,
        "floor_usd_per_month": month(of.floor),
        "ceiling_usd_per_month": month(of.ceiling),
    }


def _pool(pool: PoolPlan, plan: Plan) -> Document:
    cost = next(each for each in plan.cost.pools if each.name == pool.name)
    return {
        "name": pool.name,
        "machine": pool.machine.name if pool.machine else None,
        "gpu": pool.product,
        "slice": pool.slice,
        "gpus_per_node": pool.gpus_per_node,
        "gpu_bytes": pool.gpu_bytes,
        "min": pool.min,
        "max": pool.max,
        "capacity": pool.capacity,
        "zones": list(pool.zones),
        "device": pool.device,
        "told": pool.description,
        "models": [model.name for model in plan.models if model.config.pool == pool.name],
        "fallback_of": [model.name for model in plan.models if pool.name in model.config.fallback_pools],
        "cost": _pool_cost(cost),
    }


def _pool_cost(pool: PoolCost) -> Document:
    price = pool.price
    return {
        "floor_nodes": pool.floor_nodes,
        "ceiling_nodes": pool.ceiling_nodes,
        "kept_warm_nodes": round(pool.warm_nodes, 4),
        "usd_per_node_hour": price.paid,
        "on_demand_usd_per_node_hour": price.on_demand,
        "spot_usd_per_node_hour": price.spot,
        "billed": price.billed,
        "price_source": price.source,
        **bounds(pool),
        "ceiling_on_demand_usd_per_hour": pool.ceiling_at("onDemand"),
        "ceiling_spot_usd_per_hour": pool.ceiling_at("spot"),
    }


def _cost(cost: Cost) -> Document:
    """Return the cost: the sums of everything, and its two parts, ``gpu_nodes`` and ``cluster``."""
    return {
        "currency": "USD",
        "hours_a_month": HOURS_A_MONTH,
        **bounds(cost.total),
        "gpu_nodes": {
            **bounds(cost.gpu_nodes),
            "ceiling_on_demand_usd_per_hour": cost.gpu_ceiling_at("onDemand"),
            "ceiling_spot_usd_per_hour": cost.gpu_ceiling_at("spot"),
        },
        "cluster": {**bounds(cost.cluster), "parts": [_line(line) for line in cost.standing]},
        "cap_usd_per_hour": cost.cap,
        "unknown": list(cost.unknown),
        "unknown_pools": list(cost.unknown_pools),
        "not_counted": list(cost.not_counted),
    }


def _line(line: Line) -> Document:
    return {
        "what": line.what,
        "unit": line.unit,
        "floor_count": line.least,
        "ceiling_count": line.most,
        "usd_per_unit_hour": line.price,
        "price_source": line.source,
        **bounds(line),
    }


def _cold(model: ModelPlan) -> Document:
    path = model.cold
    return {
        "model": model.name,
        "cold_seconds": path.cold,
        "warm_seconds": path.warm,
        "unknown": list(path.unknown),
        "dominant": path.dominant.name,
        "advice": path.advice,
        "cold_start_seconds": model.config.cold_start.seconds,
        "phases": [dict(vars(phase)) for phase in path.phases],
    }


def _timeouts(model: ModelPlan, plan: Plan) -> Document:
    return {
        "model": model.name,
        "silence_seconds": model.silence,
        "shortest": model.shortest.name if model.shortest else None,
        "load_balancer": plan.front.description,
        "hops": [dict(vars(hop)) for hop in model.hops],
    }


def _graph(graph: ResourceCounts | None) -> Document | None:
    if graph is None:
        return None
    return {"resources": graph.total, "components": graph.components, "by_type": dict(graph.by_type)}
