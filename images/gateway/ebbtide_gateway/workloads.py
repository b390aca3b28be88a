"""GPUs that the models hold, from the cluster's own Deployments and LeaderWorkerSets."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import httpx
from ebbtide_kube.api import model_of
from ebbtide_kube.informer import Informer

from .guard import Usage

Objects = Mapping[str, Mapping[str, Any]]


class Workloads:
    """Workloads that run models, of every kind in ``paths``, the API's lists of them. ``changed`` is called whenever
    they may have changed, for the first time once every kind was looked at: before that nothing is known of any.
    """

    def __init__(
        self, client: httpx.AsyncClient, paths: Iterable[str], token: Path, changed: Callable[[], None]
    ) -> None:
        self._changed = changed
        without = "the wake guard stands aside"
        self._views = {path: Informer(client, path, token, partial(self._moved, path), without) for path in paths}
        self._to_look_at = set(self._views)

    @property
    def views(self) -> tuple[Informer, ...]:
        """Return the informers; each has to be run."""
        return tuple(self._views.values())

    def usage(self) -> Usage | None:
        """Return what the cluster shows now."""
        return usage(view.items for view in self.views)

    def _moved(self, path: str) -> None:
        self._to_look_at.discard(path)
        if not self._to_look_at:
            self._changed()


def usage(kinds: Iterable[Objects | None]) -> Usage | None:
    """Return the GPUs in use; None until all kinds are listed and while one cannot be: half of a view would let one
    model start over another.
    """
    replicas: Counter[str] = Counter()
    ready: Counter[str] = Counter()
    gpus: dict[str, int] = {}
    for objects in kinds:
        if objects is None:
            return None
        for item in objects.values():
            # a model that changes its kind has both for a while, and the old pods hold their GPUs
            replicas[model_of(item)] += replicas_of(item)
            ready[model_of(item)] += int(item.get("status", {}).get("readyReplicas", 0))
            gpus[model_of(item)] = gpus_of(item)
    return Usage(replicas, gpus, ready)


def replicas_of(workload: Mapping[str, Any]) -> int:
    """Return the replicas wanted, or still there when fewer are wanted: a pod that drains holds its GPU."""
    desired = workload.get("spec", {}).get("replicas", 1)
    return max(int(desired), int(workload.get("status", {}).get("replicas", 0)))


def gpus_of(workload: Mapping[str, Any]) -> int:
    """Return the GPUs one replica asks for, for a group those of all its pods: limits of GPU and MIG resources over the
    containers.
    """
    spec = workload.get("spec", {})
    group = spec.get("leaderWorkerTemplate")
    if group is None:
        return _gpus_of_pod(spec.get("template", {}))
    worker = group.get("workerTemplate", {})
    return _gpus_of_pod(group.get("leaderTemplate") or worker) + (int(group.get("size", 1)) - 1) * _gpus_of_pod(worker)


def _gpus_of_pod(template: Mapping[str, Any]) -> int:
    containers = template.get("spec", {}).get("containers", [])
    limits = [container.get("resources", {}).get("limits", {}) for container in containers]
    return sum(
        int(count)
        for limit in limits
        for resource, count in limit.items()
        if resource.endswith("/gpu") or "/mig-" in resource
    )
