"""A model's LoRA adapters in its pods: the engine's flags, and the copy from a bucket, which it cannot read. Pure."""

from __future__ import annotations

import json
from typing import Any, Final

from components.model_service.managed_flags import HOT_ADAPTERS
from components.model_service.settings import Adapter, ModelSettings
from components.platforms.contract import Weights
from components.pods import confined_container

FOLDER: Final = "/adapters"
"""Where an adapter lies in the pod that the store has as a URI."""

_VOLUME: Final = "adapters"
# What the engine makes room for. Source: vLLM 0.32.0, config/lora.py, MaxLoRARanks.
RANKS: Final = (1, 8, 16, 32, 64, 128, 256, 320, 512)


def room_for(rank: int) -> int:
    """Return the least rank the engine can make room for that takes an adapter of ``rank``; 0 for none."""
    return next((each for each in RANKS if each >= rank), rank) if rank else 0


def arguments(model: ModelSettings) -> list[str]:
    """Return the engine's flags; none without adapters. All of them stay in main memory, so each is read once."""
    hot = model.hot_adapters
    count = len(model.adapters) + (hot.count if hot is not None else 0)
    if not count:
        return []
    rank = room_for(max([adapter.rank for adapter in model.adapters] + ([hot.rank] if hot is not None else [])))
    modules = [f"{adapter.name}={path(adapter)}" for adapter in model.adapters]
    slots = ("--max-loras", str(model.adapter_slots or count), "--max-cpu-loras", str(count))
    named = ["--lora-modules", *modules] if modules else []
    return ["--enable-lora", *slots, "--max-lora-rank", str(rank), *named]


def environment(model: ModelSettings) -> dict[str, str]:
    """Return what the engine has to know of adapters that are loaded while it runs; none without room for them."""
    hot = model.hot_adapters
    if hot is None:
        return {}
    facts = {"model": model.name, "base": model.model_id, "rank": hot.rank, "folder": hot.folder}
    return {HOT_ADAPTERS: json.dumps(facts)}


def path(adapter: Adapter) -> str:
    """Return the folder in the pod from which the engine reads the adapter."""
    return f"{FOLDER}/{adapter.name}" if _is_remote(adapter) else adapter.weights


def volumes(model: ModelSettings) -> list[dict[str, Any]]:
    """Return the volume for what is copied; none where the store is a folder in the pod."""
    return [{"name": _VOLUME, "emptyDir": {}}] if any(map(_is_remote, model.adapters)) else []


def mounts(model: ModelSettings) -> list[dict[str, Any]]:
    """Return the engine's mount of what was copied, which it cannot change."""
    return [{"name": _VOLUME, "mountPath": FOLDER, "readOnly": True}] if volumes(model) else []


def copying(model: ModelSettings, weights: Weights, image: Any) -> list[dict[str, Any]]:
    """Return the container that copies the adapters before the engine starts, in the pod's own identity; none where
    the store is a folder in the pod. It runs ``images/vllm/fetch_adapters.py``."""
    remote = [adapter for adapter in model.adapters if _is_remote(adapter)]
    if not remote:
        return []
    pairs = [text for adapter in remote for text in (adapter.weights, path(adapter))]
    environment = {"HOME": "/tmp", "TMPDIR": "/tmp", **weights.environment}  # noqa: S108  an emptyDir of this pod
    return [
        {
            "name": "adapters",
            "image": image,
            "imagePullPolicy": "IfNotPresent",
            "command": ["python3", "/usr/local/bin/fetch_adapters.py", *pairs],
            "env": [{"name": name, "value": value} for name, value in sorted(environment.items())],
            "resources": {"requests": {"cpu": "500m", "memory": "512Mi"}},
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "securityContext": confined_container(),
            "volumeMounts": [
                {"name": _VOLUME, "mountPath": FOLDER},
                {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108
            ],
        }
    ]


def _is_remote(adapter: Adapter) -> bool:
    return "://" in adapter.weights
