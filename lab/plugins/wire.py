"""A resource stand-in on the wire: the engine's gRPC calls turned into plain ones, and errors into answers."""

from __future__ import annotations

import logging
from typing import Any, NoReturn

import grpc
from google.protobuf import empty_pb2
from pulumi.runtime.proto import ResourceProviderServicer, plugin_pb2, provider_pb2, status_pb2

from infra.gate.replacement import property_path
from infra.gate.replacement.differences import Difference
from lab.plugins.plugin import Call, InitFailedError, Naming, RefusedError, StandIn
from lab.plugins.properties import decode, encode, redact

_LOG = logging.getLogger("stand-in")


class Servicer(ResourceProviderServicer):
    """Resource provider service for one plugin."""

    def __init__(self, plugin: StandIn) -> None:
        self._plugin = plugin

    def Handshake(self, request: Any, context: Any) -> Any:  # noqa: N802
        return provider_pb2.ProviderHandshakeResponse(accept_secrets=True, supports_autonaming_configuration=True)

    def GetPluginInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        return plugin_pb2.PluginInfo(version=self._plugin.version)

    def Cancel(self, request: Any, context: Any) -> Any:  # noqa: N802
        self._plugin.cancelled.set()
        return empty_pb2.Empty()

    def Parameterize(self, request: Any, context: Any) -> Any:  # noqa: N802
        context.abort(grpc.StatusCode.UNIMPLEMENTED, "this stand-in cannot be parameterized")

    def Construct(self, request: Any, context: Any) -> Any:  # noqa: N802
        context.abort(
            grpc.StatusCode.UNIMPLEMENTED,
            f"{request.type} is a component of the official plugin, which the stand-in ({self._plugin.version}) "
            "does not have: create its resources one by one",
        )

    def CheckConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _Answering(context):
            inputs = self._plugin.check_config(decode(request.olds), decode(request.news))
            return provider_pb2.CheckResponse(inputs=encode(inputs))

    def DiffConfig(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _Answering(context):
            return _diff_response(
                self._plugin.diff_config(decode(request.old_inputs), decode(request.news)) or Difference()
            )

    def Configure(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _Answering(context):
            self._plugin.configure(decode(request.args))
            return provider_pb2.ConfigureResponse(
                acceptSecrets=True, supportsPreview=True, supports_autonaming_configuration=True
            )

    def Check(self, request: Any, context: Any) -> Any:  # noqa: N802
        olds, news = decode(request.olds), decode(request.news)
        with _Answering(context, news):
            proposed = request.autonaming
            naming = Naming(request.randomSeed, proposed.proposed_name, proposed.Mode.Name(proposed.mode))
            inputs, failures = self._plugin.check(_call(request), olds, news, naming)
            return provider_pb2.CheckResponse(
                inputs=encode(inputs),
                failures=[provider_pb2.CheckFailure(property=name, reason=why) for name, why in failures],
            )

    def Diff(self, request: Any, context: Any) -> Any:  # noqa: N802
        news = decode(request.news)
        with _Answering(context, news):
            return _diff_response(
                self._plugin.diff(
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
            id_, outputs = self._plugin.create(_call(request), inputs)
            return provider_pb2.CreateResponse(id=id_, properties=encode(outputs))

    def Read(self, request: Any, context: Any) -> Any:  # noqa: N802
        outputs, inputs = decode(request.properties), decode(request.inputs)
        with _Answering(context, inputs):
            state = self._plugin.read(_call(request), outputs, inputs)
            if state is None:
                return provider_pb2.ReadResponse()
            return provider_pb2.ReadResponse(id=request.id, properties=encode(state[0]), inputs=encode(state[1]))

    def Update(self, request: Any, context: Any) -> Any:  # noqa: N802
        news = decode(request.news)
        with _Answering(context, news):
            outputs = self._plugin.update(
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
            self._plugin.delete(_call(request), decode(request.properties), inputs)
            return empty_pb2.Empty()

    def Invoke(self, request: Any, context: Any) -> Any:  # noqa: N802
        with _Answering(context):
            return provider_pb2.InvokeResponse(
                **{"return": encode(self._plugin.invoke(request.tok, decode(request.args)))}
            )


def _call(request: Any) -> Call:
    return Call(
        urn=request.urn,
        type=request.type,
        name=request.name,
        id=getattr(request, "id", ""),
        preview=getattr(request, "preview", False),
        timeout_seconds=getattr(request, "timeout", 0.0),
    )


def _diff_response(difference: Difference) -> Any:
    kinds = provider_pb2.PropertyDiff
    detailed = {
        property_path.show(change.path): kinds(
            kind=kinds.Kind.Value(f"{change.kind}_REPLACE" if change.replaces else change.kind),
            inputDiff=True,
        )
        for change in difference.changes
    }
    answer = provider_pb2.DiffResponse
    return answer(
        changes=answer.DIFF_SOME if difference.changes else answer.DIFF_NONE,
        replaces=[property_path.show(change.path) for change in difference.changes if change.replaces],
        deleteBeforeReplace=difference.delete_first,
        detailedDiff=detailed,
        hasDetailedDiff=True,
        diffs=list(detailed),
    )


class _Answering:
    """Context that turns a plugin's errors into what the engine shows: a text, or a partly created resource."""

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
    """Return the message by which the engine learns that a resource exists although its operation failed."""
    return provider_pb2.ErrorResourceInitFailed(
        id=error.id, properties=encode(error.outputs), inputs=encode(error.inputs), reasons=reasons
    )
