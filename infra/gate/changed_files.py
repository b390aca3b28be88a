"""The files that a change edits, and the stacks that have to be judged because of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from infra.gate.deployments import STACK_FILE, WrongDeployments, deployed
from infra.gate.file_kinds import programs


@dataclass(frozen=True)
class ChangedFiles:
    """``paths`` are all that differ, links and submodules too; ``programs`` those that a code owner has to read;
    ``touched`` the stacks whose file differs; then the stacks that pipelines bring up."""

    paths: tuple[str, ...]
    touched: tuple[str, ...] = ()
    deployed_before: tuple[str, ...] = ()
    deployed_after: tuple[str, ...] = ()

    @property
    def programs(self) -> tuple[str, ...]:
        return tuple(programs(self.paths))

    @property
    def judged(self) -> tuple[str, ...]:
        """Return the stacks to judge: those whose file changes; every deployed one where anything changes that all of
        them share."""
        shared = self.programs or _facts(self.paths)
        deployed = (*self.deployed_after, *self.deployed_before) if shared else ()
        return tuple(dict.fromkeys((*deployed, *self.touched)))


def compare(base: Path, head: Path, refused: Iterable[str] = ()) -> ChangedFiles:
    """Compare two folders. ``refused`` are entries that neither folder has and that count as changed. Raises
    ``WrongDeployments`` for a list in the head that cannot be read; one that only the base has wrong is empty."""
    paths = {str(path.relative_to(top)) for top in (base, head) for path in top.rglob("*") if path.is_file()}
    changed = sorted({path for path in paths if _content(base / path) != _content(head / path)} | set(refused))
    touched = tuple(match[1] for path in changed if (match := STACK_FILE.fullmatch(path)))
    try:
        before = deployed(base)
    except WrongDeployments:
        before = ()
    return ChangedFiles(tuple(changed), touched, before, deployed(head))


def _facts(paths: Iterable[str]) -> list[str]:
    """Return recorded models and the list of deployments among ``paths``: every deployed stack may rest on them."""
    return [path for path in paths if path.startswith("stacks/") and not STACK_FILE.fullmatch(path)]


def _content(path: Path) -> tuple[bool, bytes] | None:
    if not path.is_file():
        return None
    return bool(path.stat().st_mode & 0o100), path.read_bytes()
