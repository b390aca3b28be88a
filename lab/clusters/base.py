"""What `ebbtide local` asks of a cluster, whichever it is."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from components.platforms.local.facts import LocalFacts
from lab.toolchain.go_programs import GoProgram
from lab.toolchain.reachable import Reachable


class LocalCluster(Protocol):
    """One of `lab_cluster`, `kind_cluster`, `context_cluster`."""

    @property
    def title(self) -> str:
        """The step's name on the screen."""
        ...

    def refuse(self) -> None:
        """Raise ``LocalProblem`` with everything that is missing, before anything is built."""
        ...

    def packages(self) -> set[str]:
        """System packages it cannot do without."""
        ...

    def programs(self) -> list[GoProgram]:
        """Programs it cannot do without; KEDA's come in any case."""
        ...

    def start(self) -> None:
        """Make it, or find it running; returns when the API server answers."""
        ...

    def since(self) -> datetime | None:
        """When everything in it began anew; None where a container may be older than that and still be well."""
        ...

    def furnish(self, sources: Reachable) -> LocalFacts:
        """Images, names, advertised GPUs and weights: all that the program takes for granted of a local place."""
        ...

    def stop(self) -> None:
        """End all that ``start`` made, and nothing else."""
        ...
