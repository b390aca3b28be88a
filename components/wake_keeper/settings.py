"""Configuration of the keeper's process: ``keeper.yaml``, rendered from plain typed values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from components.idle_scaling.timing import USUAL


@dataclass(frozen=True, kw_only=True)
class KeptModel:
    """One model. ``hold_seconds`` is how long a load may take before it is given up: no request waits longer for it.
    ``growable``: an autoscaler may bring its pool another node, within ``cold_start_seconds``. ``counted``: KEDA asks
    here how many requests wait in its engines' own queues. ``turn_seconds``: its engines take turns on their cards,
    each for this time while others wait; they sleep after ``sleep_seconds`` without a request, None: only then.
    ``scales_in``: it may have several replicas, of which the idlest is to go first. ``machines``: pods of one replica;
    above one they are a group of a LeaderWorkerSet.
    """

    name: str
    hold_seconds: int
    cold_start_seconds: int
    growable: bool
    counted: bool = False
    turn_seconds: int | None = None
    sleep_seconds: int | None = None
    scales_in: bool = False
    machines: int = 1


@dataclass(frozen=True)
class KeeperSettings:
    """Settings of the keeper, which runs beside the gateway. ``api_server_ports`` are the ports the NetworkPolicy opens
    towards the API server. ``recent_seconds``: a model counts as used this long after its last request.
    ``remembers_wakes``: some group has a daily cap on its wakes, which the gateway's restart must not lift.
    """

    models: Sequence[KeptModel] = ()
    namespace: str = "ebbtide"
    models_namespace: str = "ebbtide-models"
    recent_seconds: int = USUAL.window_seconds
    remembers_wakes: bool = False
    api_server_ports: tuple[int, ...] = (443, 6443, 16443)

    @property
    def asks_engines(self) -> bool:
        """Return True if the keeper has to reach any model's pods."""
        return any(model.counted or model.turn_seconds is not None for model in self.models)

    @property
    def has_groups(self) -> bool:
        """Return True if any model is a LeaderWorkerSet."""
        return any(model.machines > 1 for model in self.models)

    @property
    def marks_pods(self) -> bool:
        """Return True if the keeper has to mark which pod of any model goes first."""
        return any(model.scales_in for model in self.models)


def keeper_yaml(settings: KeeperSettings) -> str:
    """Return ``keeper.yaml``, stable from run to run."""
    document: dict[str, Any] = {
        "namespace": settings.models_namespace,
        "gatewayNamespace": settings.namespace,
        "recentSeconds": settings.recent_seconds,
        **({"remembersWakes": True} if settings.remembers_wakes else {}),
        "models": [
            {
                "name": model.name,
                "holdSeconds": model.hold_seconds,
                "coldStartSeconds": model.cold_start_seconds,
                "growable": model.growable,
                "counted": model.counted,
                **({} if model.turn_seconds is None else {"turnSeconds": model.turn_seconds}),
                **({} if model.sleep_seconds is None else {"sleepSeconds": model.sleep_seconds}),
                **({"scalesIn": True} if model.scales_in else {}),
                **({} if model.machines == 1 else {"machines": model.machines}),
            }
            for model in sorted(settings.models, key=lambda model: model.name)
        ],
    }
    return yaml.safe_dump(document, sort_keys=False)
