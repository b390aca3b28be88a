"""Changes of a program's source before it is built in a copy of its module: few, small, and refused where they miss."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from infra.errors import LocalProblem


@dataclass(frozen=True)
class Edit:
    """One change: ``old`` in ``file`` of the module's copy becomes ``new``."""

    file: str
    old: str
    new: str

    def make(self, copy: Path) -> None:
        """Change the file. Raises ``LocalProblem`` if it does not have the old text."""
        file = copy / self.file
        text = file.read_text()
        if self.old not in text:
            raise LocalProblem(
                f"{copy.name}: {self.file} no longer has {self.old}",
                "the module's source changed with its version: put what it says now where lab/ names this text",
            )
        file.write_text(text.replace(self.old, self.new))
