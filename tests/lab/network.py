"""A thread of the tests in the machine's own network, where pods have addresses and nodes pull from loopback."""

from __future__ import annotations

import ctypes

from infra.workspace import Paths
from lab.machine import forwarder, namespaces


def enter(paths: Paths) -> None:
    """Move the calling thread, and no other, into the machine's network."""
    first = namespaces.running(paths)
    assert first is not None
    with open(f"/proc/{first.pid}/ns/net") as network:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.setns(network.fileno(), forwarder.CLONE_NEWNET) == 0, ctypes.get_errno()
