"""The one provider behind all cloud stand-ins: what each engine operation means for a folder that plays the cloud."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from infra.gate.replacement import property_path
from infra.gate.replacement.differences import UNKNOWN, Difference, compare
from infra.gate.replacement.tables import table
from lab.plugins.clouds import accounts, outputs, sdk
from lab.plugins.clouds.cloud import Cloud
from lab.plugins.clouds.facts import Facts, at, book
from lab.plugins.clouds.operations import Operations, answer
from lab.plugins.plugin import Call, Checked, Engine, InitFailedError, Naming, RefusedError, StandIn, Values
from lab.plugins.properties import has_unknown, mark_secrets, plain
from lab.plugins.rehearsal import Rehearsal

_DEFAULTS = "__defaults"


class CloudStandIn(StandIn):
    """One package's provider in one rehearsal."""

    def __init__(self, engine: Engine, package: str, rehearsal: Rehearsal) -> None:
        super().__init__(engine)
        self._package, self._rehearsal = package, rehearsal
        self._book = book(package)
        self._cloud = Cloud(rehearsal.folder, package)
        self._operations: Operations | RefusedError | None = None
        self.version = f"{self._book.version}+stand-in"

    def check_config(self, olds: Values, news: Values) -> Values:
        hints = {"version": str, "pluginDownloadURL": str, **sdk.provider_inputs(self._package)}
        wrong = list(sdk.check(accounts.settings(news), hints, frozenset()))
        if wrong:
            raise RefusedError("; ".join(f"{self._package} provider: {path} {why}" for path, why in wrong))
        return news

    def diff_config(self, olds: Values, news: Values) -> Difference | None:
        # another account or region is another cloud: everything there would have to be made anew
        fixed = [(key,) for key in ("region", "subscriptionId", "project") if key in olds and key in news]
        return Difference(compare(plain(olds), plain(news), immutable=fixed))

    def configure(self, config: Values) -> None:
        account = self._rehearsal.accounts.get(self._package) or {}
        try:
            place = accounts.place(self._package, account, accounts.settings(config)) | self._api()
        except accounts.RefusedAtFirstCallError as error:
            self._operations = error
        else:
            self._operations = Operations(
                cloud=self._cloud, book=self._book, place=place, engine=self.engine, cancelled=self.cancelled
            )
        tags = accounts.settings(config).get("defaultTags")
        self._default_tags = dict(tags.get("tags") or {}) if isinstance(tags, Mapping) else {}

    def check(self, call: Call, olds: Values, news: Values, naming: Naming) -> Checked:
        shape = self._shape(call.type)
        known = self._book.of(call.type)
        inputs = self._named(call, known, {k: v for k, v in news.items() if v is not None}, plain(olds), naming)
        plain_inputs = plain(inputs)
        wrong = list(sdk.check(plain_inputs, shape.inputs, shape.required))
        for path, allowed in known.values.items():
            for value in at(plain_inputs, path):
                if value is not UNKNOWN and value not in allowed:
                    wrong.append((path, f"{value!r} is not one of {', '.join(map(repr, allowed))}"))
        return inputs, wrong

    def diff(self, call: Call, olds: Values, old_inputs: Values, news: Values, ignored: list[str]) -> Difference:
        known = self._book.of(call.type)
        old, new = _without_notes(plain(old_inputs)), _without_notes(plain(news))
        paths = [property_path.parse(path) for path in (*table(self._package).get(call.type, ()), *known.names)]
        changes = compare(old, new, immutable=paths)
        # a name that the program chose must be free before the successor can have it
        generated = {*(plain(news).get(_DEFAULTS) or []), *(name for name in known.names if new.get(name) is None)}
        fixed = [path for path in known.unique if path not in generated]
        same_name = bool(known.unique) and len(fixed) == len(known.unique)
        return Difference(changes, delete_first=same_name and all(list(at(old, p)) == list(at(new, p)) for p in fixed))

    def create(self, call: Call, inputs: Values) -> tuple[str, Values]:
        shape, known = self._shape(call.type), self._book.of(call.type)
        if call.preview or has_unknown(inputs):
            return "", outputs.expected(known, shape, inputs)
        try:
            record = self._hands.create(call, shape, _without_notes(plain(inputs)))
        except InitFailedError as error:
            raise InitFailedError(error.id, inputs, self._as_returned(error.outputs, inputs), error.reasons) from None
        return record.id, self._as_returned(record.outputs, inputs)

    def read(self, call: Call, outputs: Values, inputs: Values) -> tuple[Values, Values] | None:
        record = self._hands.read(call)
        if record is None:
            return None
        shape = self._shape(call.type)
        live = self._as_returned(record.outputs, outputs or inputs)
        if inputs:
            return live, mark_secrets(_still(plain(inputs), record.known), inputs)
        return live, {key: value for key, value in record.known.items() if key in shape.inputs and value is not None}

    def update(self, call: Call, olds: Values, old_inputs: Values, news: Values, ignored: list[str]) -> Values:
        known = self._book.of(call.type)
        if call.preview or has_unknown(news):
            counted = {known.counter: UNKNOWN} if known.counter else {}
            return {**olds, **outputs.shown(self._shape(call.type), news), **counted}
        try:
            record = self._hands.update(
                call, self._shape(call.type), _without_notes(plain(news)), _without_notes(plain(old_inputs))
            )
        except InitFailedError as error:
            raise InitFailedError(error.id, news, self._as_returned(error.outputs, news), error.reasons) from None
        return self._as_returned(record.outputs, news)

    def delete(self, call: Call, outputs: Values, inputs: Values) -> None:
        self._hands.delete(call)

    def invoke(self, token: str, args: Values) -> Values:
        return answer(self._book, self._cloud, self._hands.place, token, plain(args))

    @property
    def _hands(self) -> Operations:
        if self._operations is None:
            raise RefusedError(f"the {self._package} provider was not configured")
        if isinstance(self._operations, RefusedError):
            raise self._operations
        return self._operations

    def _shape(self, token: str) -> sdk.ResourceType:
        shape = sdk.shape(token)
        if shape is None:
            raise RefusedError(f"{token}: the {self._package} SDK {self._book.version} has no such type")
        return shape

    def _named(self, call: Call, known: Facts, inputs: Values, olds: Mapping[str, Any], naming: Naming) -> Values:
        """Return the inputs with names generated where the program gave none; a name generated before stays."""
        before = set(olds.get(_DEFAULTS) or [])
        missing = [name for name in known.names if inputs.get(name) is None and not inputs.get(f"{name}Prefix")]
        for name in missing:
            proposed = naming.proposed if naming.mode != "DISABLE" else ""
            fresh = proposed or f"{call.name}-{hashlib.sha256(naming.seed).hexdigest()[:7]}"
            inputs[name] = olds[name] if name in before and olds.get(name) else fresh
        if missing:
            inputs[_DEFAULTS] = missing
        return inputs

    def _as_returned(self, live: Mapping[str, Any], like: Values) -> Values:
        values = dict(live)
        if "tagsAll" in values:
            values["tagsAll"] = {**self._default_tags, **(values.get("tags") or {})}
        return dict(mark_secrets(values, like))

    def _api(self) -> Values:
        api = self._rehearsal.api
        if api is None:
            return {"endpoint": "https://no-api.invalid", "endpointHost": "no-api.invalid", "ca": ""}
        authority = base64.b64encode(Path(api.authority).read_bytes()).decode()
        return {
            "endpoint": api.server,
            "endpointHost": api.server.removeprefix("https://"),
            "ca": authority,
            "kubeconfig": base64.b64encode(_kubeconfig(api.server, authority).encode()).decode(),
        }


def _kubeconfig(server: str, authority: str) -> str:
    """Return the kubeconfig that AKS hands out: address and authority, and a user without credentials."""
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "c", "cluster": {"server": server, "certificate-authority-data": authority}}],
            "users": [{"name": "u", "user": {"exec": {"apiVersion": "v1", "command": "kubelogin", "args": []}}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
            "current-context": "c",
        }
    )


def _without_notes(values: Mapping[str, Any]) -> Values:
    """Return inputs without the ``__`` notes that providers add to them."""
    return {key: value for key, value in values.items() if not key.startswith("__")}


def _still(inputs: Any, live: Any) -> Any:
    """Return the program's inputs as they are now in the cloud, without parts that the program never set."""
    if isinstance(inputs, dict) and isinstance(live, dict):
        remaining = {
            k: _still(v, live.get(k)) for k, v in inputs.items() if live.get(k) is not None or k.startswith("__")
        }
        return {**remaining, **({_DEFAULTS: inputs[_DEFAULTS]} if _DEFAULTS in inputs else {})}
    if isinstance(inputs, list) and isinstance(live, dict):
        return inputs if {*map(str, inputs)} == live.keys() else list(live)
    if isinstance(inputs, list) and isinstance(live, list) and len(inputs) == len(live):
        return [_still(a, b) for a, b in zip(inputs, live, strict=True)]
    return live
