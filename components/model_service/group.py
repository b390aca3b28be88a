"""One model larger than a machine: each replica is a group of pods, one a machine, that compute as one engine.

The leader is a model's pod like any other: it answers, carries the probes and drains. The others run the same engine
headless. Whatever restarts one pod makes all of its group anew, because an engine that lost a part cannot go on.
"""

from __future__ import annotations

from typing import Any, Final

from components.model_service.settings import ModelSettings
from components.model_service.workload import SKIP_AWAIT, Placement, metadata, template

API: Final = "leaderworkerset.x-k8s.io/v1"
KIND: Final = "LeaderWorkerSet"


def leader_worker_set(model: ModelSettings, place: Placement) -> dict[str, Any]:
    """``LeaderWorkerSet``. ``replicas`` (of groups) is only the number to start with: KEDA owns it afterwards.

    An update replaces one group at a time and never needs a GPU more than the model has. Raises ``ValueError`` as
    ``deployment`` does, and for one machine a replica.
    """
    if not model.is_group:
        raise ValueError(f"{model.name}: nodes is {model.nodes}; one machine a replica is a Deployment's")
    return {
        "metadata": {**metadata(model, place), "annotations": dict(SKIP_AWAIT)},
        "spec": {
            "replicas": model.min_replicas,
            # all at once: the leader does not get ready before the others have joined it
            "startupPolicy": "LeaderCreated",
            "rolloutStrategy": {
                "type": "RollingUpdate",
                "rollingUpdateConfiguration": {"maxSurge": 0, "maxUnavailable": 1},
            },
            # a name of its own for each group: the one for all would be the model's Service's, which is there already
            "networkConfig": {"subdomainPolicy": "UniquePerReplica"},
            "leaderWorkerTemplate": {
                "size": model.nodes,
                "restartPolicy": "RecreateGroupOnPodRestart",
                "leaderTemplate": template(model, place),
                "workerTemplate": template(model, place, headless=True),
            },
        },
    }
