"""One gRPC server for every resource stand-in: a plugin overrides plain methods on plain values, this does the wire.

A plugin process is started by the engine with the engine's address as its last argument, prints the port it listens
on as the first line of stdout, and ends on SIGINT or SIGTERM.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, NoReturn

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import (
    ResourceProviderServicer,
    engine_pb2,
    engine_pb2_grpc,
    plugin_pb2,
    provider_pb2,
    provider_pb2_grpc,
    status_pb2,
)

from infra.local.plugins import property_path
from infra.local.plugins.differences import Difference
from infra.local.plugins.properties import decode, encode, redact

_LOG = logging.getLogger("stand-in")
MAX_MESSAGE_BYTES = 400 * 1024 * 1024
"""As much as the engine itself accepts: one CustomResourceDefinition can be half a megabyte, a stack many of them."""
WORKERS = 160
"""Waits hold a thread each, so there are more threads than a program has resources in flight."""
GRPC_OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
]


class RefusedError(Exception):
    """An answer that the user should read as it is, without a traceback."""


class InitFailedError(Exception):
    """The resource exists but did not become ready; the engine keeps ``outputs`` in state and reports ``reasons``."""

    def __init__(self, id_: str, inputs: Any, outputs: Any, reasons: list[str]) -> None:
        super().__init__("; ".join(reasons))
        self.id, self.inputs, self.outputs, self.reasons = id_, inputs, outputs, reasons


@dataclass(frozen=True)
class Call:
    """What every operation knows about its resource. ``timeout_seconds`` is 0 when the program set none."""

    urn: str
    type: str
    name: str
    id: str = ""
    preview: bool = False
    timeout_seconds: float = 0.0


@dataclass(frozen=True)
class Naming:
    """What Check may use to make up a name: the engine's seed and its autonaming choice."""

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


class StandIn(ResourceProviderServicer):
    """A provider plugin. Values given to and taken from the plain methods may contain `Secret` and `UNKNOWN`."""

    version = "0.0.0+stand-in"

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.cancelled = threading.Event()

    # What a plugin overrides.
    def check_config(self, olds: dict[str, Any], news: dict[str, Any]) -> dict[str, Any]:
        """The provider's configuration as it is kept in state."""
        return news

    def diff_config(self, olds: dict[str, Any], news: dict[str, Any]) -> Difference | None:
        """What a change of configuration means; None: nothing that a resource could notice."""
        return None

    def configure(self, config: dict[str, Any]) -> None:
        """Take the configuration over; called once before any resource."""

    def check(
        self, call: Call, olds: dict[str, Any], news: dict[str, Any], naming: Naming
    ) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        """Inputs with defaults filled in, and refusals as (property, reason)."""
        return news, []

    def diff(
        self,
        call: Call,
        olds: dict[str, Any],
        old_inputs: dict[str, Any],
        news: dict[str, Any],
        ignored: list[str],
    ) -> Difference:
        """What changed; ``olds`` are the last outputs."""
        raise NotImplementedError

    def create(self, call: Call, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Make the resource; returns its id and outputs."""
        raise NotImplementedError

    def read(
        self, call: Call, outputs: dict[str, Any], inputs: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The resource as it is now, as (outputs, inputs); None when it is gone."""
        return outputs, inputs

    def update(
        self,
        call: Call,
        olds: dict[str, Any],
        old_inputs: dict[str, Any],
        news: dict[str, Any],
        ignored: list[str],
    ) -> dict[str, Any]:
        """Change the resource in place; returns its outputs."""
        raise NotImplementedError

    def delete(self, call: Call, outputs: dict[str, Any], inputs: dict[str, Any]) -> None:
        """Remove the resource; being gone already is no error."""

    def invoke(self, token: str, args: dict[str, Any]) -> dict[str, Any]:
        """Answer a function of the package."""
        raise RefusedError(f"{token}: not offered by the {self.version} plugin")

    # The wire.
    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: N802
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True, supports_autonaming_configuration=True)

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        return plugin_pb2.PluginInfo(version=self.version)

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.cancelled.set()
        return empty_pb2.Empty()

    def Parameterize(self, request: Any, context: Any) -> Any:  # noqa: N802
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "this stand-in cannot be parameterized")

    def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _Answering(context):
            inputs = self.check_config(decode(request.olds), decode(request.news))
            return provider_pb2.CheckResponse(inputs=encode(inputs))

    def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _Answering(context):
            return _diff_response(self.diff_config(decode(request.old_inputs), decode(request.news)) or Difference())

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _Answering(context):
            self.configure(decode(request.args))
            return provider_pb2.ConfigureResponse(
                acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True
            )

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        olds, news = decode(request.olds), decode(request.news)
        with _Answering(context, news):
            proposed = request.autonaming
            naming = Naming(request.randomSeed, proposed.proposed_name, proposed.Mode.Name(proposed.mode))
            inputs, failures = self.check(_call(request), olds, news, naming)
            return provider_pb2.CheckResponse(
                inputs=encode(inputs),
                failures=[provider_pb2.CheckFailure(property=name, reason=why) for name, why in failures],
            )

    def Diff(self, request: Any, context: Any) -> Any:  # noqa: N802
        news = decode(request.news)
        with _Answering(context, news):
            return _diff_response(
                self.diff(
                    _call(request),
                    decode(request.olds),
                    decode(request.old_inputs),
                    news,
                    list(request.ignoreChanges),
                )
            )

    def Create(self, request: Any, context: Any) -> Any:  # noqa: N802
        inputs = decode(request.properties)
        with _Answering(context, inputs):
            id_, outputs = self.create(_call(request), inputs)
            return provider_pb2.CreateResponse(id=id_, properties=encode(outputs))

    def Read(self, request: Any, context: Any) -> Any:  # noqa: N802
        outputs, inputs = decode(request.properties), decode(request.inputs)
        with _Answering(context, inputs):
            found = self.read(_call(request), outputs, inputs)
            if found is None:
                return provider_pb2.ReadResponse()
            return provider_pb2.ReadResponse(id=request.id, properties=encode(found[0]), inputs=encode(found[1]))

    def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        news = decode(request.news)
        with _Answering(context, news):
            outputs = self.update(
                _call(request),
                decode(request.olds),
                decode(request.old_inputs),
                news,
                list(request.ignoreChanges),
            )
            return provider_pb2.UpdateResponse(properties=encode(outputs))

    def Delete(self, request: Any, context: Any) -> Any:  # noqa: N802
        inputs = decode(request.old_inputs)
        with _Answering(context, inputs):
            self.delete(_call(request), decode(request.properties), inputs)
            return empty_pb2.Empty()

    def Invoke(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _Answering(context):
            return provider_pb2.InvokeResponse(**{"return": encode(self.invoke(request.tok, decode(request.args)))})


def _call(request: Any) -> Call:
    return Call(
        request.urn,
        request.type,
        request.name,
        getattr(request, "id", ""),
        getattr(request, "preview", False),
        getattr(request, "timeout", 0.0),
    )


def _diff_response(found: Difference) -> Any:
    kinds = provider_pb2.PropertyDiff
    detailed = {
        property_path.show(change.path): kinds(
            kind=kinds.Kind.Value(f"{change.kind}_REPLACE" if change.replaces else change.kind),
            inputDiff=True,
        )
        for change in found.changes
    }
    answer = provider_pb2.DiffResponse
    return answer(
        changes=answer.DIFF_SOME if found.changes else answer.DIFF_NONE,
        replaces=[property_path.show(change.path) for change in found.changes if change.replaces],
        deleteBeforeReplace=found.delete_first,
        detailedDiff=detailed,
        hasDetailedDiff=True,
        diffs=list(detailed),
    )


class _Answering:
    """Turns what a plugin raises into what the engine shows: a text for the user, or a partly created resource."""

    def __init__(self, context: Any, *secret_holders: Any) -> None:
        self._context, self._secret_holders = context, secret_holders

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: Any) -> None:
        if error is None or not isinstance(error, Exception):
            return
        if isinstance(error, InitFailedError):
            self._abort_partial(error)
        if isinstance(error, RefusedError):
            text = str(error)
        else:
            _LOG.error("unexpected failure", exc_info=error)
            text = f"the stand-in plugin failed unexpectedly: {type(error).__name__}: {error}"
        self._context.abort(grpc.StatusCode.UNKNOWN, redact(text, *self._secret_holders))

    def _abort_partial(self, error: InitFailedError) -> NoReturn:
        reasons = [redact(reason, *self._secret_holders) for reason in error.reasons]
        detail = _init_failed(error, reasons)
        status = status_pb2.Status(code=grpc.StatusCode.UNKNOWN.value[0], message=reasons[0])
        status.details.add().Pack(detail)
        self._context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
        self._context.abort(grpc.StatusCode.UNKNOWN, reasons[0])
        raise AssertionError("abort always raises")


def _init_failed(error: InitFailedError, reasons: list[str]) -> Any:
    """The message by which the engine learns that a resource exists although its operation failed."""
    return provider_pb2.ErrorResourceInitFailed(
        id=error.id, properties=encode(error.outputs), inputs=encode(error.inputs), reasons=reasons
    )


def serve(make: Callable[[Engine], StandIn]) -> None:
    """Run a resource plugin until the engine ends it."""
    logging.basicConfig(stream=sys.stderr, level=logging.ERROR, format="%(name)s: %(message)s")
    addresses = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    servicer = make(Engine(addresses[-1] if addresses else None))
    run_server(
        lambda server: provider_pb2_grpc.add_ResourceProviderServicer_to_server(servicer, server),
        servicer.cancelled.set,
    )


def run_server(add: Callable[[grpc.Server], None], cancel: Callable[[], None]) -> None:
    """Serve on a free loopback port, print the port, and stay until SIGINT or SIGTERM; then leave within seconds."""
    server = grpc.server(ThreadPoolExecutor(max_workers=WORKERS), options=GRPC_OPTIONS)
    add(server)
    port = server.add_insecure_port("127.0.0.1:0")
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: ended.set())
    server.start()
    sys.stdout.write(f"{port}\n")
    sys.stdout.flush()
    while not ended.wait(3600):
        pass
    cancel()
    server.stop(grace=2).wait(3)
    sys.stdout.flush()
    sys.stderr.flush()
    # A thread may still sit in a request to a cluster that does not answer; it must not keep the process.
    os._exit(0)


__all__ = ["Call", "Engine", "InitFailedError", "Naming", "RefusedError", "StandIn", "run_server", "serve"]
