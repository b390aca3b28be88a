"""What a stack file says of the local place: nothing but that it is meant."""

from __future__ import annotations

from typing import Literal

from components.typed.fields import Shape


class LocalSettings(Shape):
    """The cluster that ``ebbtide local up`` keeps on this machine."""

    kind: Literal["local"]

    @property
    def region(self) -> None:
        """Nothing is bought here."""
        return None
