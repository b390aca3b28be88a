"""Server-side apply: making an object, changing it, owning only what the program sets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from infra.local.plugins.kube import objects, ownership
from infra.local.plugins.kube.awaiting import Waiter
from infra.local.plugins.kube.cluster import APPLY, Endpoint
from infra.local.plugins.kube.connection import ApiError
from infra.local.plugins.plugin import Call, RefusedError
from infra.local.plugins.properties import Path, plain


@dataclass(frozen=True)
class Applier:
    """Applies one object at a time; in a preview everything is a dry run."""

    waiter: Waiter

    def _place(self, inputs: Mapping[str, Any]) -> tuple[Endpoint, str, str]:
        endpoint = self.waiter.cluster.endpoint(str(inputs["apiVersion"]), str(inputs["kind"]))
        metadata = inputs.get("metadata") or {}
        namespace = (
            str(metadata.get("namespace") or self.waiter.cluster.default_namespace) if endpoint.namespaced else ""
        )
        return endpoint, str(metadata["name"]), namespace

    def make(self, call: Call, inputs: dict[str, Any], manager: str) -> tuple[dict[str, Any], Endpoint]:
        given = plain(inputs)
        endpoint, name, namespace = self._place(given)
        live = self.waiter.cluster.get(endpoint, name, namespace)
        if live is not None and live["metadata"].get("deletionTimestamp") and not call.preview:
            # A predecessor of the same name is still going: what is applied to it now would go with it.
            self.waiter.until_gone(call, given, endpoint, live)
            live = None
        if objects.is_patch(call.type, given):
            if live is None:
                raise RefusedError(
                    f"{given['kind']} {name!r} does not exist: a Patch resource changes an object that is there"
                )
        elif live is not None and not self.waiter.cluster.settings.upsert and not ownership.made_by(live, manager):
            raise RefusedError(
                f"{given['kind']} {objects.identifier(live)!r} already exists in the cluster and is not this "
                "stack's: import it (pulumi import), delete it, or choose another name"
            )
        thing = objects.to_send(given, namespace)
        force = self._force(given) or (call.preview and not objects.is_patch(call.type, given))
        try:
            return self.apply(endpoint, thing, manager, dry_run=call.preview, force=force), endpoint
        except ApiError as error:
            if not (call.preview and error.immutable):
                raise
            # The old object is still there in a preview of a replacement; under another name it can be tried.
            thing["metadata"]["name"] = f"{name[:230]}-preview"
            return self.apply(endpoint, thing, manager, dry_run=True, force=True), endpoint

    def change(
        self, call: Call, news: dict[str, Any], manager: str, ignored: list[Path]
    ) -> tuple[dict[str, Any], Endpoint]:
        given = plain(news)
        endpoint, name, namespace = self._place(given)
        for attempt in range(5):
            live = self.waiter.cluster.get(endpoint, name, namespace)
            thing = objects.to_send(given, namespace)
            ownership.leave_ignored(thing, live, ignored, manager)
            try:
                return (
                    self.apply(endpoint, thing, manager, dry_run=call.preview, force=self._force(given)),
                    endpoint,
                )
            except ApiError as error:
                # An ignored field may change hands between the look and the apply.
                if not (error.conflict and ignored) or attempt == 4:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def _force(self, given: Mapping[str, Any]) -> bool:
        return self.waiter.cluster.settings.patch_force or objects.flagged(given, objects.PATCH_FORCE)

    def apply(
        self,
        endpoint: Endpoint,
        thing: dict[str, Any],
        manager: str,
        *,
        dry_run: bool = False,
        force: bool = False,
    ) -> dict[str, Any]:
        query = {"fieldManager": manager, "fieldValidation": "Strict", "force": "true" if force else "false"}
        if dry_run:
            query["dryRun"] = "All"
        metadata = thing["metadata"]
        path = endpoint.path(metadata["name"], metadata.get("namespace", ""))
        return self.waiter.cluster.request("PATCH", path, query, thing, APPLY)


def explained(error: ApiError, manager: str) -> RefusedError:
    if not error.conflict:
        return error
    return RefusedError(
        f"{error}\nAnother manager owns what this resource ({manager}) sets: leave the field to it (ignoreChanges, or "
        f'take it out of the program), or take it over with the annotation {objects.PATCH_FORCE}: "true"'
    )
