"""Helm releases in a rehearsal: checked and written down, never rendered, since no chart can be fetched there.

Only with ``charts`` among what the rehearsal records (see `infra.local.plugins.rehearsal`); nothing of the chart is in
the cluster afterwards, and every release says so in the engine's log.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.local.plugins.clouds import sdk, wire_check
from infra.local.plugins.differences import Difference, compare
from infra.local.plugins.kube.provider import KubernetesStandIn
from infra.local.plugins.plugin import Call, Engine, Naming
from infra.local.plugins.properties import UNKNOWN, has_unknown, mark_secrets, plain
from infra.local.plugins.rehearsal import Rehearsal

RELEASE = "kubernetes:helm.sh/v3:Release"
_FIXED = (("name",), ("namespace",))


class WithRecordedReleases(KubernetesStandIn):
    """The Kubernetes stand-in, for which a Release is a note in the rehearsal's folder."""

    def __init__(self, engine: Engine, rehearsal: Rehearsal) -> None:
        super().__init__(engine)
        self._folder = rehearsal.folder / "helm"

    def check(
        self, call: Call, olds: dict[str, Any], news: dict[str, Any], naming: Naming
    ) -> tuple[dict[str, Any], list[tuple[str, str]]]:
        if call.type != RELEASE:
            return super().check(call, olds, news, naming)
        shape = sdk.shape(RELEASE)
        assert shape is not None
        inputs = {key: value for key, value in news.items() if value is not None}
        if not inputs.get("name"):
            fresh = naming.proposed or f"{call.name}-{hashlib.sha256(naming.seed).hexdigest()[:8]}"
            inputs["name"] = plain(olds).get("name") or fresh
        known = {**shape.inputs, "compat": str}
        wrong = list(wire_check.check(plain(inputs), known, shape.required))
        repository = plain(inputs).get("repositoryOpts") or {}
        if repository is not UNKNOWN and repository.get("repo") and not inputs.get("version"):
            wrong.append(("version", "is missing: without it every up may take another chart"))
        return inputs, wrong

    def diff(
        self, call: Call, olds: dict[str, Any], old_inputs: dict[str, Any], news: dict[str, Any], ignored: list[str]
    ) -> Difference:
        if call.type != RELEASE:
            return super().diff(call, olds, old_inputs, news, ignored)
        return Difference(compare(plain(old_inputs), plain(news), immutable=_FIXED))

    def create(self, call: Call, inputs: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        if call.type != RELEASE:
            return super().create(call, inputs)
        if call.preview or has_unknown(inputs):
            return "", {**inputs, "status": UNKNOWN, "resourceNames": UNKNOWN}
        return f"{plain(inputs).get('namespace') or 'default'}/{plain(inputs)['name']}", self._recorded(call, inputs, 1)

    def read(
        self, call: Call, outputs: dict[str, Any], inputs: dict[str, Any]
    ) -> tuple[dict[str, Any], dict[str, Any]] | None:
        if call.type != RELEASE:
            return super().read(call, outputs, inputs)
        return (outputs, inputs) if self._file(plain(inputs)).exists() else None

    def update(
        self, call: Call, olds: dict[str, Any], old_inputs: dict[str, Any], news: dict[str, Any], ignored: list[str]
    ) -> dict[str, Any]:
        if call.type != RELEASE:
            return super().update(call, olds, old_inputs, news, ignored)
        if call.preview or has_unknown(news):
            return {**olds, **news, "status": UNKNOWN}
        return self._recorded(call, news, int((plain(olds).get("status") or {}).get("revision") or 0) + 1)

    def delete(self, call: Call, outputs: dict[str, Any], inputs: dict[str, Any]) -> None:
        if call.type != RELEASE:
            super().delete(call, outputs, inputs)
        else:
            self._file(plain(inputs)).unlink(missing_ok=True)

    def _recorded(self, call: Call, inputs: dict[str, Any], revision: int) -> dict[str, Any]:
        given = plain(inputs)
        self._folder.mkdir(parents=True, exist_ok=True)
        self._file(given).write_text(json.dumps(given, indent=1, default=str))
        self.engine.log(
            "info", call.urn, f"rehearsal: release {given['name']} is only written down, nothing is rendered"
        )
        status = {
            "appVersion": "recorded",
            "chart": given.get("chart"),
            "name": given["name"],
            "namespace": given.get("namespace") or "default",
            "revision": revision,
            "status": "deployed",
            "version": given.get("version"),
        }
        return dict(mark_secrets({**given, "status": status, "resourceNames": {}}, inputs))

    def _file(self, given: Mapping[str, Any]) -> Path:
        return self._folder / f"{given.get('namespace') or 'default'}.{given.get('name')}.json"
