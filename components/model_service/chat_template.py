"""A model's own chat template: a ConfigMap with the file, mounted read-only into the engine's pods. Pure."""

from __future__ import annotations

import hashlib
from typing import Any, Final

from components.model_service.settings import ModelSettings

_FOLDER: Final = "/etc/ebbtide/chat-template"
_FILE: Final = "chat-template.jinja"
_VOLUME: Final = "chat-template"

TEMPLATE: Final = f"{_FOLDER}/{_FILE}"
"""Path of the template in the pod."""


def config_map(model: ModelSettings, namespace: str, labels: dict[str, str]) -> dict[str, Any] | None:
    """Return the ConfigMap; None without a template."""
    if model.chat_template is None:
        return None
    return {
        "metadata": {"name": _name(model), "namespace": namespace, "labels": labels},
        "data": {_FILE: model.chat_template},
    }


def pod_annotations(model: ModelSettings) -> dict[str, str]:
    """Return the pod's annotation: an engine reads the file once, so another template has to make other pods."""
    if model.chat_template is None:
        return {}
    return {"ebbtide.dev/chat-template-sha256": hashlib.sha256(model.chat_template.encode()).hexdigest()}


def volumes(model: ModelSettings) -> list[dict[str, Any]]:
    """Return the pod's volume; none without a template."""
    return [{"name": _VOLUME, "configMap": {"name": _name(model)}}] if model.chat_template is not None else []


def mounts(model: ModelSettings) -> list[dict[str, Any]]:
    """Return the container's mount; none without a template."""
    mount = {"name": _VOLUME, "mountPath": _FOLDER, "readOnly": True}
    return [mount] if model.chat_template is not None else []


def _name(model: ModelSettings) -> str:
    return f"{model.name}-chat-template"
