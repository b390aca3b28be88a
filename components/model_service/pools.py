"""How a model's pod finds its pool, or the first of its pools that has a node to give. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from components.platforms.contract import Pool

_MOST_WEIGHT = 100  # Kubernetes takes 1 to 100


def where(pools: Sequence[Pool]) -> dict[str, Any]:
    """The part of a pod's spec that says on which nodes it may run; ``pools`` in order of preference, none twice.

    One pool is a plain selector. Several are required as alternatives, one term each, whatever labels they carry, and
    preferred with falling weights; the last needs no term. The scheduler weighs the preferences among nodes that are
    there. Karpenter takes the heaviest for required and drops it when no node can be had so. Kubernetes' cluster
    autoscaler does not read preferences: a place that installs it tells it the order (``PoolRequest.preference``).
    Source: kubernetes-sigs/karpenter, provisioning/scheduling/preferences.go; cluster autoscaler FAQ.
    """
    first, *rest = pools
    if not rest:
        return {"nodeSelector": dict(first.labels), "tolerations": first.tolerations()}
    affinity = {
        "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [_term(pool) for pool in pools]},
        "preferredDuringSchedulingIgnoredDuringExecution": [
            {"weight": max(1, _MOST_WEIGHT * (len(rest) - place) // len(rest)), "preference": _term(pool)}
            for place, pool in enumerate(pools[:-1])
        ],
    }
    tolerations: list[dict[str, str]] = []
    for pool in pools:
        tolerations += [each for each in pool.tolerations() if each not in tolerations]
    return {"affinity": {"nodeAffinity": affinity}, "tolerations": tolerations}


def _term(pool: Pool) -> dict[str, Any]:
    """Nodes that carry all of the pool's labels."""
    return {
        "matchExpressions": [{"key": key, "operator": "In", "values": [value]} for key, value in pool.labels.items()]
    }
