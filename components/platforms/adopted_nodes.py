"""Existing nodes as a pool: the pool's labels and taints are put on them, and removed on destroy."""

from __future__ import annotations

from collections.abc import Iterable

import pulumi
import pulumi_kubernetes as k8s

from components.platforms.contract import Pool


class AdoptedNodes(pulumi.ComponentResource):
    """Labels and taints of ``pool`` on the named nodes, by one server-side patch per node.

    Costs nothing at rest. It does not create, size or delete nodes, and owns no label or taint that it did not set.
    """

    def __init__(self, name: str, pool: Pool, nodes: Iterable[str], opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("ebbtide:platforms:AdoptedNodes", name, None, opts)
        for node in nodes:
            k8s.core.v1.NodePatch(
                f"{name}-{node}",
                metadata={
                    "name": node,
                    "labels": dict(pool.labels),
                    # two pools must not fight over one node, but a taint set by hand is not an error
                    "annotations": {"pulumi.com/patchForce": "true", "ebbtide.dev/pool": pool.name},
                },
                spec={"taints": [{"key": t.key, "value": t.value, "effect": t.effect} for t in pool.taints]},
                opts=pulumi.ResourceOptions(parent=self),
            )
        self.register_outputs({})
