"""The stack file's settings of the local place: none but its kind."""

from __future__ import annotations

from typing import Literal

from components.typed.fields import StackModel


class LocalSettings(StackModel):
    """The cluster that ``ebbtide local up`` keeps on this machine."""

    kind: Literal["local"]

    @property
    def region(self) -> None:
        """Return None: nothing is bought here."""
        return None

    @property
    def ignores_order(self) -> None:
        """Return None: no node is brought here."""
        return None
