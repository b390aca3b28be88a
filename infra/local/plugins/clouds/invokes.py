"""Answers to the functions of the packages: looked up in the cloud's folder, or told by the facts file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from infra.local.plugins.clouds.cloud import Cloud
from infra.local.plugins.clouds.facts import Book, fill
from infra.local.plugins.plugin import RefusedError

_POLICY_DOCUMENT = "aws:iam/getPolicyDocument:getPolicyDocument"


def answer(book: Book, cloud: Cloud, place: Mapping[str, Any], token: str, args: Mapping[str, Any]) -> dict[str, Any]:
    """The result of one call. An answer in the facts has ``result`` (a template) and, where it is about a resource,
    ``finds`` (its type) ``by`` (the form of its key), whose outputs are in the answer unless ``only``. Raises
    `RefusedError` for what is not there or not known."""
    if token == _POLICY_DOCUMENT:
        return policy_document(args)
    told = book.answers.get(token)
    if told is None:
        raise RefusedError(f"{token}: no stand-in answer: add one under answers in the facts of the package")
    holes = {**place, **{key: value for key, value in args.items() if value is not None}}
    if told.get("finds"):
        key = str(fill(told["by"], holes))
        record = cloud.named(told["finds"], key)
        if record is None:
            raise RefusedError(book.text(told["finds"], "missing", {**holes, "id": key, "type": told["finds"]}))
        holes = {**holes, **record.outputs, "id": record.id}
        own = {} if told.get("only") else {**record.outputs, "id": record.id}
        return {**args, **own, **fill(told.get("result") or {}, holes)}
    return {**args, **fill(told["result"], holes)}


def policy_document(args: Mapping[str, Any]) -> dict[str, Any]:
    """An IAM policy as JSON text, as the official function renders it: one value alone stands without a list."""
    document = {
        "Version": args.get("version") or "2012-10-17",
        "Statement": [_statement(each) for each in args.get("statements") or []],
    }
    if args.get("policyId"):
        document["Id"] = args["policyId"]
    text = json.dumps(document)
    return {**args, "id": str(abs(hash(text)) % 10**10), "json": text, "minifiedJson": text}


def _statement(given: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {"Effect": given.get("effect") or "Allow"}
    if given.get("sid"):
        found["Sid"] = given["sid"]
    for name, key in (
        ("Action", "actions"), ("NotAction", "notActions"), ("Resource", "resources"), ("NotResource", "notResources"),
    ):  # fmt: skip
        if given.get(key):
            found[name] = _single(given[key])
    for name, key in (("Principal", "principals"), ("NotPrincipal", "notPrincipals")):
        if given.get(key):
            found[name] = {each["type"]: _single(each["identifiers"]) for each in given[key]}
            if found[name] == {"*": "*"}:
                found[name] = "*"
    for each in given.get("conditions") or []:
        found.setdefault("Condition", {}).setdefault(each["test"], {})[each["variable"]] = _single(each["values"])
    return found


def _single(values: list[Any]) -> Any:
    return values[0] if len(values) == 1 else values
