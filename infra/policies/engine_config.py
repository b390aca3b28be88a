"""The stack's configuration, which the engine gives to a policy pack after starting it and the SDK throws away."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from pulumi_policy import EnforcementLevel, Policy, policy

from infra.policies.seen import SeenMap

PREFIX = "ebbtide:"


class StackKnown:
    """The stack file's sections without namespace; None until the engine has said them. What Pulumi had encrypted is
    left out: no rule needs a secret. ``inputs`` are those of every resource so far, by URN: at the end an engine only
    shows outputs, which a preview may not know, and a provider that is not configured yet may leave out."""

    def __init__(self, values: Mapping[str, Any] | None = None) -> None:
        self.values = values
        self.inputs: dict[str, SeenMap] = {}

    @property
    def environment(self) -> str:
        """Production's rules hold until the engine says otherwise."""
        return str((self.values or {}).get("environment", "prod"))

    def told(self, config: Mapping[str, str], secret: list[str]) -> None:
        found = {key: value for key, value in config.items() if key.startswith(PREFIX) and key not in secret}
        self.values = {key.removeprefix(PREFIX): _value(value) for key, value in found.items()}


def listen(known: StackKnown, level: Callable[[Policy], EnforcementLevel]) -> None:
    """Have packs made after this hear the configuration, and take each policy's level from ``level`` when it is asked:
    the environment decides it, and is not known when the pack starts."""

    class Listening(policy._PolicyAnalyzerServicer):
        def ConfigureStack(self, request: Any, context: Any) -> Any:  # noqa: N802  the protocol's name
            known.told(dict(request.config), list(request.config_secret_keys))
            return super().ConfigureStack(request, context)

        def _get_enforcement_level(self, asked: Policy) -> EnforcementLevel:
            return level(asked)

    policy._PolicyAnalyzerServicer = Listening  # type: ignore[misc]


def _value(text: str) -> Any:
    if text[:1] in ("{", "["):
        try:
            return json.loads(text)
        except ValueError:
            return text
    return {"true": True, "false": False}.get(text, int(text) if text.isdigit() else text)
