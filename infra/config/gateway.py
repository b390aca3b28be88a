"""Who may ask which model: groups of models, and keys that belong to a group."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

from pydantic import AfterValidator, Field

from components.typed.fields import Shape, text

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


class GroupConfig(Shape):
    """What the keys of a group may use: names of models, or ``*`` for all of them."""

    models: tuple[str, ...] = Field(description="a list of model names", examples=['["*"]'])

    def may_use(self, model: str) -> bool:
        """Whether a key of this group may ask ``model`` (its name, not an alias)."""
        return ALL_MODELS in self.models or model in self.models


class KeyConfig(Shape):
    """An API key, of which only the hash is written; without it the stack makes a key and exports it as a secret."""

    group: str = Field(description="the name of a group", examples=["everyone"])
    sha256: Sha256 | None = Field(default=None, description="of a key made elsewhere")


class GatewayConfig(Shape):
    """Groups and keys by name."""

    groups: Mapping[str, GroupConfig] = Field(default_factory=dict, description="who may ask which models")
    keys: Mapping[str, KeyConfig] = Field(default_factory=dict, description="API keys, each of one group")
