"""Interface that `ebbtide local` expects of any cluster."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from components.platforms.local.facts import LocalFacts
from lab.toolchain.go_programs import GoProgram
from lab.toolchain.reachable import Reachable


class LocalCluster(Protocol):
    """One of `LabCluster`, `KindCluster`, `ContextCluster`."""

    @property
    def title(self) -> str:
        """Return the step's name on the screen."""
        ...

    def refuse(self) -> None:
        """Raise ``LocalProblem`` with everything that is missing, before anything is built."""
        ...

    def packages(self) -> set[str]:
        """Return the system packages that the cluster needs."""
        ...

    def programs(self) -> list[GoProgram]:
        """Return the programs that the cluster needs; KEDA's come in any case."""
        ...

    def start(self) -> None:
        """Make the cluster, or find it running; return when the API server answers."""
        ...

    def since(self) -> datetime | None:
        """Return when everything in it began anew; None where a container may be older than that and still be well."""
        ...

    def furnish(self, sources: Reachable) -> LocalFacts:
        """Provide images, names, advertised GPUs and weights: all that the program takes for granted locally."""
        ...

    def stop(self) -> None:
        """End everything that ``start`` made, and nothing else."""
        ...
