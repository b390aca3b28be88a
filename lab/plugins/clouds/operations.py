"""Create, read, update and delete as a cloud does them: references must lead somewhere, names must be free, what is in
use cannot be deleted, and ordered failures happen."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lab.plugins.clouds import failures, outputs, sdk
from lab.plugins.clouds.cloud import Cloud, Record
from lab.plugins.clouds.facts import Book, at, fill
from lab.plugins.plugin import Call, Engine, InitFailedError, RefusedError

_RETRIES = 10
_PAUSE_SECONDS = 0.05
_HANG_SECONDS = 600.0


@dataclass(frozen=True, kw_only=True)
class Operations:
    """One provider's operations on its cloud. ``place`` is where the account's resources go."""

    cloud: Cloud
    book: Book
    place: Mapping[str, Any]
    engine: Engine
    cancelled: threading.Event

    def create(self, call: Call, shape: sdk.ResourceType, inputs: dict[str, Any]) -> Record:
        """Create the resource.

        Raises `InitFailedError` when it exists although the operation failed, `RefusedError` when it was not made.
        """
        failed = self._failure(call, "create", inputs)
        known = self.book.of(call.type)
        place = {**self.place, **{key: inputs[key] for key in ("region", "project") if inputs.get(key)}}
        filled = outputs.holes(place, inputs) | {"resourceName_": call.name}
        with self.cloud.locked():
            self._check_references(call.type, inputs)
            scope = self._scope(call.type, place, inputs)
            if scope and any(record.scope == scope for record in self.cloud.all(call.type)):
                raise RefusedError(self._text(call.type, "exists", inputs))
            id_, live = outputs.outputs_of(known, shape, filled, inputs)
            if self.cloud.get(call.type, id_):
                raise RefusedError(self._text(call.type, "exists", inputs | {"id": id_}))
            record = Record(
                type=call.type,
                id=id_,
                outputs=live,
                inputs=_untold(shape, inputs),
                keys=self._keys(call.type, live),
                scope=scope,
            )
            self.cloud.put(record)
        self._end_badly(failed, call, record, inputs)
        return record

    def read(self, call: Call) -> Record | None:
        """Return the resource as it is now; None when it is gone."""
        self._failure(call, "read", {})
        return self._live(call)

    def _live(self, call: Call) -> Record | None:
        record = self.cloud.get(call.type, call.id)
        return None if record is None or record.gone else record

    def update(
        self, call: Call, shape: sdk.ResourceType, inputs: dict[str, Any], old_inputs: Mapping[str, Any]
    ) -> Record:
        """Change the resource in place; values that only the cloud may set stay."""
        failed = self._failure(call, "update", inputs)
        known = self.book.of(call.type)
        with self.cloud.locked():
            record = self._live(call)
            if record is None:
                raise RefusedError(self._text(call.type, "missing", {"id": call.id}))
            for path in known.frozen:
                if list(at(record.known, path)) != list(at(inputs, path)) and list(at(inputs, path)):
                    raise RefusedError(self._text(call.type, "frozen", {"id": call.id, "property": path}))
            self._check_references(call.type, inputs)
            record.inputs = _untold(shape, inputs)
            for key in shape.inputs.keys() & shape.outputs.keys():
                if key in known.keeps and record.outputs.get(key) is not None:
                    continue
                if inputs.get(key) is not None:
                    returned = outputs.answered(inputs[key], shape.outputs.get(key), record.outputs | {"hex8": "0" * 8})
                    record.outputs[key] = outputs.overlaid(_computed(known.outputs.get(key), record, key), returned)
                elif key not in known.defaults and old_inputs.get(key) is not None:
                    record.outputs[key] = None
            if known.counter and _differ(inputs, old_inputs):
                record.outputs[known.counter] = int(record.outputs.get(known.counter) or 0) + 1
            self.cloud.put(record)
        self._end_badly(failed, call, record, inputs)
        return record

    def delete(self, call: Call) -> None:
        """Delete the resource unless another still needs it; one that is gone is no error."""
        failed = self._failure(call, "delete", {})
        with self.cloud.locked():
            record = self._live(call)
            if record is None:
                return
            lock = self.book.of(call.type).lock
            if lock and record.known.get(lock):
                raise RefusedError(self._text(call.type, "locked", {"id": call.id}))
            holders = [f"{other.type.rsplit(':', 1)[-1]} {other.id}" for other in self._naming(record, "holds")]
            if holders:
                text = self._text(call.type, "held", record.known | {"id": record.id, "holders": ", ".join(holders)})
                raise RefusedError(text)
            if self.book.of(call.type).stays:
                record.gone = True
                self.cloud.put(record)
            else:
                self.cloud.remove(record)
            for each in self._naming(record, "inside"):
                self.cloud.remove(each)
        if failed == "timeoutHalfWay":
            raise RefusedError(self._text(call.type, "timeout", {"id": call.id, "op": "delete"}))
        if failed == "hang":
            self.cancelled.wait(_HANG_SECONDS)

    def _failure(self, call: Call, op: failures.Op, inputs: Mapping[str, Any]) -> failures.Kind | None:
        """Return the failure ordered for this operation; throttles are retried here, as real providers do.

        Raises `RefusedError` for a quota, a stock-out, or a throttle that does not end.
        """
        for attempt in range(_RETRIES + 1):
            kind = failures.take(self.cloud, call.type, op)
            if kind in (None, "timeoutHalfWay", "hang"):
                return kind
            text = self._text(call.type, str(kind), {**inputs, "id": call.id, "op": op})
            if kind != "throttle" or attempt == _RETRIES or self.cancelled.wait(_PAUSE_SECONDS):
                raise RefusedError(text)
            self.engine.status(call.urn, f"{text} (trying again)")
        raise AssertionError("the last attempt returns or raises")

    def _end_badly(self, failed: failures.Kind | None, call: Call, record: Record, inputs: dict[str, Any]) -> None:
        if failed == "hang":
            self.cancelled.wait(_HANG_SECONDS)
        if failed in ("timeoutHalfWay", "hang"):
            op = "update" if call.id else "create"
            text = self._text(call.type, "timeout", {**inputs, "id": record.id, "op": op})
            raise InitFailedError(record.id, inputs, record.outputs, [text])

    def _check_references(self, type_: str, inputs: Mapping[str, Any]) -> None:
        known = self.book.of(type_)
        for path, target_type in {**known.needs, **known.holds, **known.inside}.items():
            for value in at(inputs, path):
                if isinstance(value, str) and self.cloud.named(target_type, value) is None:
                    text = self._text(target_type, "missing", {"id": value, "type": target_type})
                    raise RefusedError(f"{path}: {text}")

    def _naming(self, record: Record, how: Literal["holds", "inside"]) -> list[Record]:
        """Return the resources that name this one in an input of the sort ``how``."""
        names = {record.id, *record.keys}

        def named_by(other: Record) -> bool:
            paths = getattr(self.book.of(other.type), how).items()
            named = (
                value for path, target_type in paths if target_type == record.type for value in at(other.known, path)
            )
            return any(isinstance(value, str) and value in names for value in named)

        return [other for other in self.cloud.all() if not other.gone and named_by(other)]

    def _keys(self, type_: str, live: Mapping[str, Any]) -> list[str]:
        named = ("arn", "name", "selfLink", *self.book.of(type_).keys)
        return sorted({value for path in named for value in at(live, path) if isinstance(value, str)})

    def _scope(self, type_: str, place: Mapping[str, Any], inputs: Mapping[str, Any]) -> str:
        known = self.book.of(type_)
        unique = known.unique
        if not unique or any(name in unique and not inputs.get(name) for name in known.names):
            return ""
        owner = place.get("account") or place.get("subscription") or place.get("project")
        return "/".join([str(owner), *(str(next(at({**place, **inputs}, path), "")) for path in unique)])

    def _text(self, type_: str, kind: str, holes: Mapping[str, Any]) -> str:
        return self.book.text(type_, kind, {**self.place, "type": type_, "kind": type_.rsplit(":", 1)[-1], **holes})


def _untold(shape: sdk.ResourceType, inputs: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in inputs.items() if key not in shape.outputs}


def _computed(template: Any, record: Record, key: str) -> Any:
    return record.outputs.get(key) if isinstance(template, Mapping) else None


def _differ(new: Mapping[str, Any], old: Mapping[str, Any]) -> bool:
    return {k: v for k, v in new.items() if v is not None} != {k: v for k, v in old.items() if v is not None}


# Answers to the functions of the packages: looked up in the cloud's folder, or given by the facts file.

_POLICY_DOCUMENT = "aws:iam/getPolicyDocument:getPolicyDocument"


def answer(book: Book, cloud: Cloud, place: Mapping[str, Any], token: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of one call. An answer in the facts has ``result`` (a template) and, where it is about a
    resource, ``finds`` (its type) and ``by`` (the form of its key); the resource's outputs are in the answer unless
    ``only`` is set. Raises `RefusedError` for a function or resource that is not there."""
    if token == _POLICY_DOCUMENT:
        return policy_document(args)
    entry = book.answers.get(token)
    if entry is None:
        raise RefusedError(f"{token}: no stand-in answer: add one under answers in the facts of the package")
    holes = {**place, **{key: value for key, value in args.items() if value is not None}}
    if entry.get("finds"):
        key = str(fill(entry["by"], holes))
        record = cloud.named(entry["finds"], key)
        if record is None:
            raise RefusedError(book.text(entry["finds"], "missing", {**holes, "id": key, "type": entry["finds"]}))
        holes = {**holes, **record.outputs, "id": record.id}
        own = {} if entry.get("only") else {**record.outputs, "id": record.id}
        return {**args, **own, **fill(entry.get("result") or {}, holes)}
    return {**args, **fill(entry["result"], holes)}


def policy_document(args: Mapping[str, Any]) -> dict[str, Any]:
    """Return an IAM policy as JSON text, as the official function renders it: a single value stands without a list."""
    document = {
        "Version": args.get("version") or "2012-10-17",
        "Statement": [_statement(each) for each in args.get("statements") or []],
    }
    if args.get("policyId"):
        document["Id"] = args["policyId"]
    text = json.dumps(document)
    return {**args, "id": str(abs(hash(text)) % 10**10), "json": text, "minifiedJson": text}


def _statement(arguments: Mapping[str, Any]) -> dict[str, Any]:
    statement: dict[str, Any] = {"Effect": arguments.get("effect") or "Allow"}
    if arguments.get("sid"):
        statement["Sid"] = arguments["sid"]
    for name, key in (
        ("Action", "actions"), ("NotAction", "notActions"), ("Resource", "resources"), ("NotResource", "notResources"),
    ):  # fmt: skip
        if arguments.get(key):
            statement[name] = _single(arguments[key])
    for name, key in (("Principal", "principals"), ("NotPrincipal", "notPrincipals")):
        if arguments.get(key):
            statement[name] = {each["type"]: _single(each["identifiers"]) for each in arguments[key]}
            if statement[name] == {"*": "*"}:
                statement[name] = "*"
    for each in arguments.get("conditions") or []:
        statement.setdefault("Condition", {}).setdefault(each["test"], {})[each["variable"]] = _single(each["values"])
    return statement


def _single(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values
