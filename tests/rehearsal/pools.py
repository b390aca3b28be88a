"""What a GPU pool is called in each cloud, and where its numbers stand: how a test sees and touches what is there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from lab.plugins.clouds.cloud import Record
from tests.rehearsal.stage import StackStage


@dataclass(frozen=True)
class PoolKind:
    """``package`` and ``kind`` of the resource; ``other_machine`` has as many GPUs as the one of the shipped stacks."""

    package: str
    kind: str
    other_machine: str

    def of(self, stage: StackStage, name: str) -> Record:
        """The pool of this name in the cloud; Azure allows no dashes in it."""
        matches = [
            r
            for r in stage.live(self.package, self.kind)
            if name in r.id or name.replace("-", "") in r.id.split("/")[-1]
        ]
        assert len(matches) == 1, [r.id for r in stage.live(self.package, self.kind)]
        return matches[0]

    def most(self, pool: Record) -> int:
        """How many nodes it may have."""
        outputs = pool.outputs
        if self.kind == "NodeGroup":
            return int(outputs["scalingConfig"]["maxSize"])
        if self.kind == "AgentPool":
            return int(outputs["maxCount"])
        return int(outputs["autoscaling"].get("totalMaxNodeCount") or outputs["autoscaling"]["maxNodeCount"])

    def machine(self, pool: Record) -> str:
        """What its nodes are."""
        outputs = pool.outputs
        if self.kind == "NodeGroup":
            return str((outputs.get("instanceTypes") or [""])[0])
        return str(outputs["vmSize"] if self.kind == "AgentPool" else outputs["nodeConfig"]["machineType"])

    def woken(self, pool: Record) -> dict[str, Any]:
        """Its outputs after the autoscaler has brought two nodes."""
        if self.kind == "NodeGroup":
            return {"scalingConfig": {**pool.outputs["scalingConfig"], "desiredSize": 2}}
        return {"count": 2} if self.kind == "AgentPool" else {"nodeCount": 2}

    def nodes(self, pool: Record) -> int:
        """How many nodes it has now."""
        outputs = pool.outputs
        return int(outputs["scalingConfig"]["desiredSize"] if self.kind == "NodeGroup" else self._count(outputs))

    def _count(self, outputs: dict[str, Any]) -> int:
        return int(outputs["count"] if self.kind == "AgentPool" else outputs["nodeCount"])


POOLS = {
    "aws": PoolKind("aws", "NodeGroup", "g5.16xlarge"),
    "azure": PoolKind("azure-native", "AgentPool", "Standard_NC40ads_H100_v5"),
    "gcp": PoolKind("gcp", "NodePool", "g2-standard-32"),
}
