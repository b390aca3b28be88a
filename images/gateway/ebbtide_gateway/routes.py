"""Table of the paths that engines answer (``routes.yaml``): which models have a path, and what its clients expect."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import yaml
from pydantic import BaseModel, ConfigDict

Task = Literal["chat", "embed", "rerank", "score", "transcribe", "image"]
Api = Literal["openai", "responses", "anthropic", "cohere"]


class Route(BaseModel):
    """One path that takes a POST for an engine."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    path: str
    tasks: tuple[Task, ...]
    api: Api
    check: str
    body: Literal["json", "form"] = "json"
    samples: bool = False


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid")

    source: str
    date: object
    routes: tuple[Route, ...]


_TABLE = _Table.model_validate(yaml.safe_load(Path(__file__).with_name("routes.yaml").read_text()))
ROUTES = {route.path: route for route in _TABLE.routes}
_ANTHROPIC = "/v1/messages"


def paths_of(task: Task) -> tuple[str, ...]:
    """Return the paths that a model with this task has."""
    return tuple(path for path, route in ROUTES.items() if task in route.tasks)


def api_of(path: str) -> Api:
    """Return whose error shape is expected at a path, listed or not."""
    if (route := ROUTES.get(path)) is not None:
        return route.api
    return "anthropic" if path.startswith(_ANTHROPIC + "/") else "openai"
