"""No code from a model repository runs in the engine."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from infra.policies.model import Outcome, Resource, Rule, each
from infra.policies.pods import TYPES, flags, pods_of
from infra.policies.seen import look
from infra.policies.settings import Settings

_FLAGS = ("--trust-remote-code", "--tool-server", "--tool-parser-plugin", "--reasoning-parser-plugin")
_VARIABLES = ("VLLM_SERVER_DEV_MODE", "VLLM_TORCH_PROFILER_DIR", "VLLM_PLUGINS", "VLLM_ALLOW_INSECURE_SERIALIZATION")


def judge(resource: Resource, settings: Settings) -> Iterator[Outcome]:
    def container(found: tuple[str, Any]) -> Iterator[Outcome]:
        path, inputs = found
        given = flags(inputs)
        for flag in _FLAGS:
            if flag in given:
                yield resource.violation(f"{path}.args", f"{flag} lets foreign code into the engine")
        for variable in look(inputs, "env") or ():
            if look(variable, "name") in _VARIABLES:
                yield resource.violation(f"{path}.env", f"{variable['name']} opens the engine to whoever reaches it")

    for pod in pods_of(resource):
        yield from each(pod.containers(), container, resource.urn)


RULE = Rule(
    id="no-remote-code",
    title="No model brings code of its own",
    reason="remote code runs with the identity of the pod, and changes with the repository it comes from",
    key="models.<model>.extraArgs",
    fix="take --trust-remote-code out; use a model the engine knows",
    scope="resource",
    judge=judge,
    types=TYPES,
)
