"""The provider itself: what each engine operation does to an object."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from infra.local.plugins import property_path
from infra.local.plugins.differences import Difference
from infra.local.plugins.kube import drift, immutable, objects, ownership, settings
from infra.local.plugins.kube.apply import Applier, explained
from infra.local.plugins.kube.awaiting import NotReadyError, Waiter
from infra.local.plugins.kube.cluster import Cluster, Endpoint, KindUnknownError
from infra.local.plugins.kube.connection import ApiError, UnreachableError
from infra.local.plugins.plugin import Call, Engine, InitFailedError, Naming, RefusedError, StandIn
from infra.local.plugins.properties import UNKNOWN, Path, has_unknown, plain

_DECODE = "kubernetes:yaml:decode"
_ABSENT = ("kubernetes:helm.sh/", "kubernetes:yaml", "kubernetes:kustomize", "kubernetes:index:")

_GONE_WITHOUT_WAITING = (
    "Namespace",
    "Pod",
    "ReplicationController",
    "DaemonSet",
    "Deployment",
    "ReplicaSet",
    "StatefulSet",
    "Job",
)
"""Kinds for which the official provider lets skipAwait hold for deletion too; all others are always waited for."""


class KubernetesStandIn(StandIn):
    """Applies objects of any kind to one cluster."""

    version = "4.34.2+stand-in"

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine)
        self._warned = False
        self._use(settings.Settings())

    def _use(self, chosen: settings.Settings) -> None:
        self._settings = chosen
        self._cluster = Cluster(chosen, self.cancelled)
        self._waiter = Waiter(self._cluster, self.engine, self.cancelled)
        self._applier = Applier(self._waiter)

    def diff_config(self, olds: dict[str, Any], news: dict[str, Any]) -> Difference | None:
        return settings.difference(olds, news)

    def configure(self, config: dict[str, Any]) -> None:
        self._use(settings.Settings.of(config))

    def check(
        self, call: Call, olds: dict[str, Any], news: dict[str, Any], naming: Naming
    ) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        if call.type.startswith(_ABSENT):
            return news, [("", f"{call.type} is not offered by the Kubernetes stand-in; apply its objects instead")]
        inputs = objects.with_identity(call.type, news)
        metadata = inputs.get("metadata")
        if metadata is not None and metadata is not UNKNOWN and not isinstance(plain(metadata), Mapping):
            return inputs, [("metadata", f"must be a map, not {type(plain(metadata)).__name__}")]
        if objects.annotation(inputs, objects.WAIT_FOR):
            return inputs, [("metadata.annotations", f"{objects.WAIT_FOR} is not offered by the Kubernetes stand-in")]
        if isinstance(metadata, Mapping) and metadata.get("generateName"):
            return inputs, [("metadata.generateName", "cannot be applied; set metadata.name, or leave both out")]
        if metadata is UNKNOWN:
            return inputs, []
        if objects.is_patch(call.type, inputs):
            if not (metadata or {}).get("name"):
                return inputs, [("metadata.name", "missing: a Patch resource must say which object it changes")]
        else:
            inputs = objects.autonamed(call, inputs, olds, naming)
        return objects.hide(inputs, {}), []

    def diff(
        self,
        call: Call,
        olds: dict[str, Any],
        old_inputs: dict[str, Any],
        news: dict[str, Any],
        ignored: list[str],
    ) -> Difference:
        old = plain(old_inputs)
        live_namespace = (plain(olds).get("metadata") or {}).get("namespace") or ""
        return immutable.difference(
            old, plain(news), live_namespace, self._cluster.default_namespace, self._settings, _paths(ignored),
            patch=objects.is_patch(call.type, old),
        )  # fmt: skip

    def create(self, call: Call, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        manager = self._manager(call, inputs, {})
        if call.preview:
            return "", self._previewed(call, inputs, lambda: self._applier.make(call, inputs, manager))
        try:
            live, endpoint = self._waiter.until_served(call, lambda: self._applier.make(call, inputs, manager))
        except ApiError as error:
            raise explained(error, manager) from None
        return objects.identifier(live), self._ready(call, inputs, live, endpoint, manager)

    def read(
        self, call: Call, outputs: dict[str, Any], inputs: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]] | None:
        given = plain(inputs) or plain(outputs)
        api_version, kind = objects.group_version_kind(call.type)
        kind = kind.removesuffix("Patch") if objects.is_patch(call.type, given) else kind
        namespace, _, name = call.id.rpartition("/")
        try:
            endpoint = self._cluster.endpoint(given.get("apiVersion") or api_version, given.get("kind") or kind)
        except KindUnknownError:
            return None
        live = self._cluster.get(endpoint, name, namespace or self._cluster.default_namespace)
        if live is None:
            return None
        manager = self._manager(call, inputs, outputs)
        seen = objects.from_live(live)
        found = drift.owned(seen, plain(inputs), ownership.fields_of(live, manager)) if inputs else drift.imported(seen)
        return self._outputs(live, inputs, outputs, manager), objects.hide(found, inputs)

    def update(
        self,
        call: Call,
        olds: dict[str, Any],
        old_inputs: dict[str, Any],
        news: dict[str, Any],
        ignored: list[str],
    ) -> dict[str, Any]:
        manager, paths = self._manager(call, news, olds), _paths(ignored)
        if call.preview:
            return self._previewed(call, news, lambda: self._applier.change(call, news, manager, paths))
        try:
            live, endpoint = self._applier.change(call, news, manager, paths)
        except ApiError as error:
            raise explained(error, manager) from None
        return self._ready(call, news, live, endpoint, manager)

    def delete(self, call: Call, outputs: dict[str, Any], inputs: dict[str, Any]) -> None:
        known = plain(outputs)
        try:
            endpoint = self._cluster.endpoint(str(known.get("apiVersion")), str(known.get("kind")))
        except KindUnknownError:
            return
        except UnreachableError as error:
            if not self._settings.delete_unreachable:
                raise
            self.engine.log("warning", call.urn, f"forgotten without being deleted: {error}")
            return
        namespace, _, name = call.id.rpartition("/")
        live = self._cluster.get(endpoint, name, namespace)
        if live is None:
            return
        if objects.is_patch(call.type, plain(inputs) or known):
            identity = {"apiVersion": live["apiVersion"], "kind": live["kind"], "metadata": {"name": name}}
            if namespace:
                identity["metadata"]["namespace"] = namespace
            self._applier.apply(endpoint, identity, self._manager(call, inputs, outputs))
            return
        policy = objects.annotation(plain(inputs), objects.PROPAGATION) or "Foreground"
        try:
            self._cluster.request(
                "DELETE", endpoint.path(name, namespace), None, {"propagationPolicy": policy.capitalize()}
            )
        except ApiError as error:
            if error.status == 404:
                return
            raise
        if not (objects.flagged(plain(inputs), objects.SKIP_AWAIT) and live["kind"] in _GONE_WITHOUT_WAITING):
            self._waiter.until_gone(call, plain(inputs), endpoint, live)

    def invoke(self, token: str, args: dict[str, Any]) -> dict[str, Any]:
        if token != _DECODE:
            return super().invoke(token, args)
        given = plain(args)
        try:
            found = [item for item in yaml.load_all(given.get("text") or "", _loader()) if item]
        except yaml.YAMLError as error:
            raise RefusedError(f"not YAML: {error}") from None
        return {"result": found}

    def _manager(self, call: Call, inputs: dict[str, Any], outputs: dict[str, Any]) -> str:
        chosen = objects.annotation(inputs, objects.FIELD_MANAGER) or plain(outputs.get("__fieldManager"))
        return str(chosen or objects.field_manager(call.urn))

    def _outputs(self, live: dict[str, Any], inputs: dict[str, Any], olds: dict[str, Any], manager: str) -> Any:
        first = plain(olds.get("__initialApiVersion")) or live.get("apiVersion")
        return objects.outputs(live, inputs, manager, str(first))

    def _previewed(self, call: Call, inputs: dict[str, Any], attempt: Any) -> dict[str, Any]:
        """What a dry run says, or the inputs where there is nothing yet that could say it."""
        if has_unknown(inputs) or not self._settings.known:
            return objects.preview_outputs(inputs)
        try:
            self._cluster.check_reachable()
            live, _ = attempt()
        except KindUnknownError:
            return objects.preview_outputs(inputs)
        except ApiError as error:
            if error.namespace_missing:
                return objects.preview_outputs(inputs)
            raise explained(error, self._manager(call, inputs, {})) from None
        except UnreachableError as error:
            if not self._warned:
                self._warned = True
                self.engine.log("warning", call.urn, f"previewed without asking the cluster: {error}")
            return objects.preview_outputs(inputs)
        return objects.preview_outputs(inputs) | {
            key: value for key, value in objects.hide(objects.from_live(live), inputs).items()
            if key not in ("metadata", "status", "spec")
        }  # fmt: skip

    def _ready(
        self, call: Call, inputs: dict[str, Any], live: dict[str, Any], endpoint: Endpoint, manager: str
    ) -> dict[str, Any]:
        try:
            ready = self._waiter.until_ready(call, plain(inputs), live, endpoint)
        except RefusedError as error:
            reasons = error.reasons if isinstance(error, NotReadyError) else [str(error)]
            state = self._outputs(live, inputs, {}, manager)
            raise InitFailedError(objects.identifier(live), inputs, state, reasons) from None
        return dict(self._outputs(ready, inputs, {}, manager))


def _paths(ignored: list[str]) -> list[Path]:
    try:
        return [property_path.parse(text) for text in ignored]
    except ValueError as error:
        raise RefusedError(f"ignoreChanges: {error}") from None


def _loader() -> Any:
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)
