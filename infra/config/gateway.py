"""Who may ask which model: groups of models, and keys that belong to a group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from components.typed.fields import Limit, Shape, text, whole

ALL_MODELS = "*"

Sha256 = Annotated[
    str,
    text(
        108,
        r"[0-9a-fA-F]{64}",
        "is not a SHA-256",
        allowed="64 hexadecimal digits",
        fix='give the hash of the key (printf %s "$KEY" | sha256sum), or leave it out and a key is made',
    ),
    AfterValidator(str.lower),
]


# each replica remembers when these came
RequestsPerMinute = Annotated[int, whole(111, 1, 100_000, fix="give a whole number, or leave it out for no limit")]
Replicas = Annotated[int, whole(111, 1, 100, fix="give the number of its pods, or leave it out")]


class GroupConfig(Shape):
    """What the keys of a group may use: names of models, or ``*`` for all of them.

    A model that is awake answers every group that may use it. Who asks for one that sleeps needs the right to wake it,
    else gets 403 `wake_not_allowed`. Limits give 429 with Retry-After, and hold over all replicas of the gateway.
    """

    models: tuple[str, ...] = Field(description="a list of model names", examples=['["*"]'])
    wake: tuple[str, ...] | None = Field(
        default=None,
        description="models it may wake, or `*`; default: all it may use; `[]`: none",
        examples=["[llama-8b]"],
    )
    max_wakes_per_day: Limit | None = Field(
        default=None, description="wakes it may begin from midnight to midnight, UTC"
    )
    requests_per_minute: RequestsPerMinute | None = Field(
        default=None, description="in any 60 seconds, over all models"
    )

    def may_use(self, model: str) -> bool:
        """Whether a key of this group may ask ``model`` (its name, not an alias)."""
        return ALL_MODELS in self.models or model in self.models

    def may_wake(self, model: str) -> bool:
        """Whether a key of this group may ask ``model`` while it sleeps."""
        return self.may_use(model) and (self.wake is None or ALL_MODELS in self.wake or model in self.wake)


class KeyConfig(Shape):
    """An API key, of which only the hash is written; without it the stack makes a key and exports it as a secret."""

    group: str = Field(description="the name of a group", examples=["everyone"])
    sha256: Sha256 | None = Field(default=None, description="of a key made elsewhere")


class GatewayConfig(Shape):
    """Groups and keys by name, and how many pods stand between the clients and the models."""

    replicas: Replicas | None = Field(
        default=None,
        description="pods of the gateway, which always run; default: 2 in `prod`, elsewhere 1",
        examples=["2"],
    )
    groups: Mapping[str, GroupConfig] = Field(default_factory=dict, description="who may ask which models")
    keys: Mapping[str, KeyConfig] = Field(default_factory=dict, description="API keys, each of one group")
