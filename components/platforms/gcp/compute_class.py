"""The order in which GKE's autoscaler tries a model's pools: a ComputeClass, to which pools and pods belong by label.

Sources: GKE documentation, About custom ComputeClasses; GoogleCloudPlatform/cluster-autoscaler, commit 7d25050, below
``pkg``: ``computeclass/organizer.go`` (pools by the first rule that names them),
``computeclass/processors/node_group_list_processor.go`` (a later rule only where no earlier one has room),
``computeclass/status/validator/conditions/nodepool_misconfigured.go`` (label and taint are needed, and one class a
pool), ``podrequirements/pod_requirements.go`` (a pod's class may stand in its required affinity, the same in each
term).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pulumi
import pulumi_kubernetes as k8s

from components.platforms.contract import About, PoolRequest, Taint
from components.platforms.gcp.names import fitted

LABEL = "cloud.google.com/compute-class"


def class_of(request: PoolRequest, about: About) -> str | None:
    """Return the class a pool belongs to: one for all pools that some model orders, since a pool can be in one only;
    None for the others."""
    return fitted(about.name, 63) if request.preference else None


def class_taint(name: str) -> Taint:
    """Return the taint that a pool of the class has to carry."""
    return Taint(LABEL, name)


def class_spec(pools: Mapping[str, PoolRequest]) -> dict[str, Any]:
    """Return the class: pools that no model orders among each other share a rule, in which GKE chooses. It makes no
    pool of its own, and no other node stands in."""
    ranks = sorted({request.preference for request in pools.values() if request.preference}, reverse=True)
    named = [[name for name, request in pools.items() if request.preference == rank] for rank in ranks]
    return {
        "priorities": [{"nodepools": names} for names in named],
        "nodePoolAutoCreation": {"enabled": False},
        "whenUnsatisfiable": "DoNotScaleUp",
    }


def compute_class(
    pools: Mapping[str, PoolRequest], about: About, after: Sequence[pulumi.Resource], opts: pulumi.ResourceOptions
) -> list[pulumi.Resource]:
    """Create the class once its pools are there; none where no model has several pools. It costs nothing."""
    names = {name for request in pools.values() if (name := class_of(request, about))}
    return [
        k8s.apiextensions.CustomResource(
            "pool-order",
            api_version="cloud.google.com/v1",
            kind="ComputeClass",
            metadata={"name": name},
            spec=class_spec(pools),
            opts=pulumi.ResourceOptions.merge(opts, pulumi.ResourceOptions(depends_on=list(after))),
        )
        for name in names
    ]
