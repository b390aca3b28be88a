"""Answers of a cloud: the inputs, what it fills in, and something plausible for everything else it declares."""

from __future__ import annotations

import collections.abc
import secrets
import typing
from collections.abc import Mapping
from typing import Any

from infra.gate.replacement.differences import UNKNOWN
from lab.plugins.clouds import facts, sdk
from lab.plugins.clouds.facts import Facts
from lab.plugins.clouds.sdk import alternatives

_CREATED = "2026-01-01T00:00:00Z"
_DEEPEST = 3


def holes(place: Mapping[str, Any], inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what templates may refer to: the place, the inputs, and fresh random parts."""
    uuid = secrets.token_hex(16)
    return {
        **place,
        "hex8": secrets.token_hex(4),
        "hex17": secrets.token_hex(9)[:17],
        "hex32": uuid.upper(),
        "uuid": f"{uuid[:8]}-{uuid[8:12]}-4{uuid[13:16]}-a{uuid[17:20]}-{uuid[20:]}",
        "number": str(10**17 + secrets.randbelow(9 * 10**17)),
        "created": _CREATED,
        **{key: value for key, value in inputs.items() if value is not None},
    }


def outputs_of(
    known: Facts, shape: sdk.ResourceType, filled: dict[str, Any], inputs: Mapping[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Return id and outputs of a resource that was just created; ``filled`` are its `holes`."""
    own_inputs = {key: value for key, value in inputs.items() if not key.startswith("__")}
    filled |= {key: facts.fill(value, filled) for key, value in known.defaults.items() if own_inputs.get(key) is None}
    for name in known.names:
        if own_inputs.get(name) is None:
            filled[name] = f"{own_inputs.get(f'{name}Prefix') or ''}{filled['hex17']}"
    id_ = str(facts.fill(known.id or "{name}-{hex8}", filled)).strip("-")
    filled["id"] = id_
    outputs: dict[str, Any] = {}
    for key, template in known.outputs.items():
        filled[key] = outputs[key] = facts.fill(template, filled)
    for key, hint in shape.outputs.items():
        if own_inputs.get(key) is not None:
            outputs[key] = overlaid(known.outputs.get(key) and outputs[key], answered(own_inputs[key], hint, filled))
        elif key in known.defaults:
            outputs[key] = filled[key]
        elif key not in outputs:
            generated = filled[key] if key in known.names else None
            outputs[key] = generated if key in shape.inputs else plausible(key, hint, filled)
    return id_, outputs


def overlaid(computed: Any, stated: Any) -> Any:
    """Merge a block that is partly given by the program, partly computed by the cloud: given values win."""
    if isinstance(computed, Mapping) and isinstance(stated, Mapping):
        return {**computed, **{key: overlaid(computed.get(key), item) for key, item in stated.items()}}
    return stated


def answered(value: Any, hint: Any, filled: Mapping[str, Any]) -> Any:
    """Return a given value in the form in which it comes back: Azure takes a list of identities and returns a map."""
    form = next(iter(alternatives(hint)), None)
    if isinstance(value, list) and typing.get_origin(form) in (dict, collections.abc.Mapping):
        if not filled or UNKNOWN in value:
            return UNKNOWN
        return {str(item): plausible("", typing.get_args(form)[1], filled) for item in value}
    if isinstance(value, Mapping) and sdk.is_result(form):
        hints = sdk.hints_of(form)
        return {key: answered(item, hints[key], filled) if key in hints else item for key, item in value.items()}
    return value


def expected(known: Facts, shape: sdk.ResourceType, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a preview can say about a resource that does not exist yet."""
    filled_in = {*known.defaults, *known.names}
    late = {key: UNKNOWN for key in shape.outputs if key not in shape.inputs or key in filled_in}
    # a block that the cloud computes in part stays unknown, or whatever reads that part would find nothing
    parts = {key for key, template in known.outputs.items() if isinstance(template, Mapping)}
    stated = {key: value for key, value in shown(shape, inputs).items() if key not in parts}
    return {**late, **dict.fromkeys(parts, UNKNOWN), **stated}


def shown(shape: sdk.ResourceType, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return inputs in the form in which a preview gives them back."""
    return {key: answered(item, shape.outputs[key], {}) for key, item in inputs.items() if key in shape.outputs}


def plausible(name: str, hint: Any, filled: Mapping[str, Any], depth: int = 0) -> Any:
    """Return a value of the declared kind that is plausible for its name."""
    form = next(iter(alternatives(hint)), None)
    origin = typing.get_origin(form)
    if form is bool:
        return False
    if form in (int, float):
        return 1
    if origin in (list, collections.abc.Sequence):
        return []
    if origin in (dict, collections.abc.Mapping):
        return dict(filled.get("labels") or filled.get("tags") or {}) if name.endswith(("abels", "tagsAll")) else {}
    if sdk.is_result(form):
        if depth >= _DEEPEST:
            return None
        return {key: plausible(key, item, filled, depth + 1) for key, item in sdk.hints_of(form).items()}
    return _text(name, filled) if form is str or form is None else None


def _text(name: str, filled: Mapping[str, Any]) -> str:
    low = name.lower()
    if low in ("name", "region", "project", "location") and filled.get(name):
        return str(filled[name])
    if low.endswith("arn"):
        return f"arn:{filled.get('partition')}:stand-in:{filled.get('region')}:{filled.get('account')}:{filled['id']}"
    if low in ("provisioningstate", "provisioningstatus"):
        return "Succeeded"
    if low in ("status", "state"):
        return "ACTIVE"
    if low.endswith(("at", "time", "timestamp", "date")):
        return str(filled["created"])
    if low == "selflink":
        return f"https://stand-in.invalid/{filled['id']}"
    if low.endswith(("id", "fingerprint", "etag", "version")):
        return str(filled["hex8"])
    return f"{name}-{filled['hex8']}"
