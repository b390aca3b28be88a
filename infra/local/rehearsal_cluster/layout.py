"""Where a rehearsal's cluster keeps its files and which loopback ports its parts use."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.local.problem import LocalProblem
from infra.local.rehearsal_cluster.programs import FOLDER, KARPENTER_KINDS, STAGES

# below the range from which the kernel lends ports to outgoing connections: nobody takes one between choice and use
_PORTS: Final = range(21000, 22000)


@dataclass(frozen=True)
class Ports:
    """One port each on 127.0.0.1."""

    etcd: int
    etcd_peers: int
    api: int
    karpenter_metrics: int
    karpenter_health: int

    @staticmethod
    def free() -> Ports:
        """Ports that nobody listens on now; two processes at once begin at different places."""
        found: list[int] = []
        for n in range(len(_PORTS)):
            port = _PORTS[(os.getpid() * 16 + n) % len(_PORTS)]
            with socket.socket() as probe:
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError:
                    continue
            found.append(port)
            if len(found) == len(Ports.__dataclass_fields__):
                return Ports(*found)
        raise LocalProblem(
            f"fewer than {len(Ports.__dataclass_fields__)} of the ports {_PORTS.start} to {_PORTS.stop - 1} are free",
            "end what listens on them (`ss -ltnp`), then run it again",
        )


@dataclass(frozen=True)
class Layout:
    """``root`` is the cluster's own folder, ``cache`` the one that all clones share."""

    root: Path
    cache: Path
    ports: Ports

    @property
    def pki(self) -> Path:
        return self.root / "pki"

    @property
    def logs(self) -> Path:
        return self.root / "logs"

    @property
    def stages(self) -> Path:
        """kwok's, and this room's own behind them."""
        return self.root / "stages.yaml"

    @property
    def module_stages(self) -> Path:
        return self.cache / FOLDER / STAGES

    @property
    def karpenter_kinds(self) -> Path:
        return self.cache / FOLDER / KARPENTER_KINDS

    @property
    def keda_manifests(self) -> Path:
        return self.cache / "keda"

    @property
    def egress(self) -> Path:
        return self.root / "egress.yaml"

    @property
    def instance_types(self) -> Path:
        return self.root / "instance-types.json"

    @property
    def server(self) -> str:
        return f"https://127.0.0.1:{self.ports.api}"

    def program(self, name: str) -> str:
        return str(self.cache / "bin" / name)

    def kubeconfig(self, user: str) -> Path:
        return self.root / f"{user}.kubeconfig"
