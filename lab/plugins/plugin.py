"""Interface of a resource stand-in: plain methods on plain values, the engine's log, and errors for users."""

from __future__ import annotations

import logging
import threading
from dataclasses import dataclass
from typing import Any

import grpc
from pulumi.runtime.proto import engine_pb2, engine_pb2_grpc

from infra.gate.replacement.differences import Difference

_LOG = logging.getLogger("stand-in")
MAX_MESSAGE_BYTES = 400 * 1024 * 1024
"""As much as the engine itself accepts: one CustomResourceDefinition can be half a megabyte, a stack many of them."""
GRPC_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
]

Values = dict[str, Any]
"""Properties by name; `Secret` and `UNKNOWN` may be among their values."""
Checked = tuple[Values, list[tuple[str, str]]]
"""Inputs with defaults filled in, and refusals as (property, reason)."""


class RefusedError(Exception):
    """An error whose text the user should read as it is, without a traceback."""


class InitFailedError(Exception):
    """The resource exists but did not become ready; the engine keeps ``outputs`` in state and reports ``reasons``."""

    def __init__(self, id_: str, inputs: Any, outputs: Any, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.id, self.inputs, self.outputs, self.reasons = id_, inputs, outputs, reasons


@dataclass(frozen=True, kw_only=True)
class Call:
    """Resource data that every operation gets. ``timeout_seconds`` is 0 when the program set none."""

    urn: str
    type: str
    name: str
    id: str = ""
    preview: bool = False
    timeout_seconds: float = 0.0


@dataclass(frozen=True)
class Naming:
    """Input from which Check may generate a name: the engine's seed and its autonaming choice."""

    seed: bytes
    proposed: str = ""
    mode: str = "PROPOSE"


class Engine:
    """The engine's log. Losing a line must never fail a resource, so errors are swallowed here."""

    def __init__(self, address: str | None) -> None:
        self._stub = None
        if address:
            self._stub = engine_pb2_grpc.EngineStub(grpc.insecure_channel(address, GRPC_OPTIONS))

    def log(self, severity: str, urn: str, message: str, *, ephemeral: bool = False) -> None:
        """Show ``message`` beside the resource; ``severity`` is debug, info, warning or error."""
        if self._stub is None:
            return
        level = engine_pb2.LogSeverity.Value(severity.upper())
        try:
            self._stub.Log(
                engine_pb2.LogRequest(severity=level, message=message, urn=urn, ephemeral=ephemeral),
                timeout=10,
            )
        except grpc.RpcError as error:
            _LOG.debug("the engine took no log line: %s", error)

    def status(self, urn: str, message: str) -> None:
        """Show what a resource is waiting for, until the next status replaces it."""
        self.log("info", urn, message, ephemeral=True)


class StandIn:
    """A provider plugin. The values that its plain methods take and return may contain `Secret` and `UNKNOWN`."""

    version = "0.0.0+stand-in"

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.cancelled = threading.Event()

    def check_config(self, olds: Values, news: Values) -> Values:
        """Return the provider's configuration as it is kept in state."""
        return news

    def diff_config(self, olds: Values, news: Values) -> Difference | None:
        """Return what a change of configuration means; None: nothing that a resource could notice."""
        return None

    def configure(self, config: Values) -> None:
        """Take over the configuration; called once before any resource."""

    def check(self, call: Call, olds: Values, news: Values, naming: Naming) -> Checked:
        """Return inputs with defaults filled in, and refusals as (property, reason)."""
        return news, []

    def diff(self, call: Call, olds: Values, old_inputs: Values, news: Values, ignored: list[str]) -> Difference:
        """Return what changed; ``olds`` are the last outputs."""
        raise NotImplementedError

    def create(self, call: Call, inputs: Values) -> tuple[str, Values]:
        """Create the resource; return its id and outputs."""
        raise NotImplementedError

    def read(self, call: Call, outputs: Values, inputs: Values) -> tuple[Values, Values] | None:
        """Return the resource as it is now, as (outputs, inputs); None when it is gone."""
        return outputs, inputs

    def update(self, call: Call, olds: Values, old_inputs: Values, news: Values, ignored: list[str]) -> Values:
        """Change the resource in place; return its outputs."""
        raise NotImplementedError

    def delete(self, call: Call, outputs: Values, inputs: Values) -> None:
        """Remove the resource; one that is already gone is no error."""

    def invoke(self, token: str, args: Values) -> Values:
        """Answer a function of the package."""
        raise RefusedError(f"{token}: not offered by the {self.version} plugin")


ONE_AT_A_TIME = threading.RLock()
"""One lock for imports that happen late, on whichever thread needs them first.

Python breaks a deadlock between two threads that import parts of one cycle by giving one of them an unfinished module;
a resource then fails with an ImportError that never comes again.
"""
