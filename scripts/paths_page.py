"""Generator of ``docs/paths.md``, from the gateway's own table of paths."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from infra.workspace import PROJECT

TABLE = PROJECT / "images" / "gateway" / "ebbtide_gateway" / "routes.yaml"
_API = {"openai": "OpenAI", "responses": "OpenAI", "anthropic": "Anthropic", "cohere": "Cohere"}
_BODY = {"json": "JSON", "form": "a form with a file"}
_HEAD = """\
# The paths of the gateway

A model has the paths of its `task` and no others: a request for another one is refused with 400 `wrong_task`, which
names the task, the paths that the model has and the tasks that the path is for, and wakes nobody. Errors come in the
shape of the API that was called. Written by `make docs` out of `images/gateway/ebbtide_gateway/routes.yaml`; the
engine's side of it is from {source}, read {date}.

| path | models with `task` | errors in the shape of | body |
|---|---|---|---|
"""
_FOOT = """
Beside them: `GET /v1/models` and `/v1/models/NAME`, and `/health/liveness` and `/health/readiness` without a key. `GET`
paths take `HEAD`; every path answers `OPTIONS` with the methods that it takes, without a key.

`POST /v1/load_lora_adapter` and `/v1/unload_lora_adapter` are vLLM's, answered by the gateway itself, for groups with
`loadAdapters` ([how](adding-a-model.md#adapters-that-a-call-loads)).

Where the stack has a `database`, `/admin/keys…`, `/admin/groups…`, `/admin/usage` and `/admin/cost` are the gateway's
own, for groups with `admin` ([what they take](accounts.md)), and `/v1/files` and `/v1/batches` are OpenAI's, answered
by the gateway itself ([how](batches.md)). Without one they are 404, the last two `database_needed`.

`GET /v1/responses/ID` and `POST /v1/responses/ID/cancel` are known and always 404 `responses_not_stored`; a request's
`previous_response_id` and `background` are 400 ([why](decisions/0030-one-table-of-paths.md)). No model can have
`task: image` yet.
"""


def paths_page() -> str:
    """Return the whole page."""
    table = yaml.safe_load(TABLE.read_text())
    head = _HEAD.format(source=table["source"], date=table["date"])
    return head + "".join(_rows(table["routes"])) + _FOOT


def _rows(routes: list[dict[str, Any]]) -> Iterator[str]:
    for route in routes:
        tasks = ", ".join(route["tasks"])
        yield f"| `{route['path']}` | {tasks} | {_API[route['api']]} | {_BODY[route.get('body', 'json')]} |\n"
