"""A model cut into stages of layers, each on GPUs of its own: what the largest of them holds. Pure arithmetic."""

from __future__ import annotations

from dataclasses import replace

from infra.preflight.model_facts import ELEMENT_BYTES, ModelFacts, WeightBytes


def largest_stage(facts: ModelFacts, stages: int) -> ModelFacts:
    """``facts`` of the stage with the most: a whole model for whoever plans memory.

    vLLM gives each stage the same number of layers and those that are left over to some, one each: the largest has the
    quotient, rounded up. Source: vLLM 0.32.0, distributed/utils.py, get_pp_indices. The first stage has the embedding
    besides, the last the output layer: one of them, in 16 bits or more, is counted to the largest, though a stage
    between has neither. Layers that keep a cache of another kind count as if they lay evenly.
    """
    if stages <= 1 or not facts.layers:
        return facts
    layers = -(-facts.layers // stages)
    kv = tuple(replace(group, count=-(-group.count // stages)) for group in facts.kv)
    weights = _weights(facts, facts.weights, layers) if facts.weights is not None else None
    return replace(facts, layers=layers, kv=kv, weights=weights)


def _weights(facts: ModelFacts, weights: WeightBytes, layers: int) -> WeightBytes:
    element = max(2.0, ELEMENT_BYTES.get(facts.dtype or "", 2.0))
    embedding = min(weights.sharded, int(facts.vocab * facts.hidden * element))
    shared, kv, whole = (
        -(-part * layers // facts.layers)
        for part in (weights.sharded - embedding, weights.kv_sharded, weights.replicated)
    )
    return WeightBytes(embedding + shared, kv, whole, weights.source)
