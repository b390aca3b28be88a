"""Property values as the engine sends them: plain JSON, plus values that are secret or not known yet.

Everything that decides works on `plain` values; `Secret` and `UNKNOWN` only exist between the wire and that point.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf import struct_pb2
from pulumi.runtime import rpc

from infra.gate.replacement.differences import UNKNOWN


@dataclass(frozen=True, repr=False)
class Secret:
    """A value that must stay encrypted in state; its repr never shows it."""

    value: Any

    def __repr__(self) -> str:
        return "Secret(…)"


def decode(struct: struct_pb2.Struct) -> dict[str, Any]:
    """Decode a property map from the wire. Whole numbers become ``int``, since JSON on the wire only knows doubles."""
    return {key: _decode_value(value) for key, value in struct.fields.items()}


def _decode_value(value: struct_pb2.Value) -> Any:
    match value.WhichOneof("kind"):
        case "string_value":
            return UNKNOWN if value.string_value == rpc.UNKNOWN else value.string_value
        case "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        case "bool_value":
            return value.bool_value
        case "struct_value":
            return _decode_struct(value.struct_value)
        case "list_value":
            return [_decode_value(item) for item in value.list_value.values]
        case _:
            return None


def _decode_struct(struct: struct_pb2.Struct) -> Any:
    fields = struct.fields
    signature = fields[rpc._special_sig_key].string_value if rpc._special_sig_key in fields else None
    if signature == rpc._special_secret_sig:
        return Secret(_decode_value(fields["value"]))
    if signature == rpc._special_output_value_sig:
        inner = _decode_value(fields["value"]) if "value" in fields else UNKNOWN
        return Secret(inner) if fields["secret"].bool_value else inner
    return {key: _decode_value(value) for key, value in fields.items()}


def encode(values: Mapping[str, Any]) -> struct_pb2.Struct:
    """Encode a property map for the wire; the reverse of `decode`."""
    struct = struct_pb2.Struct()
    for key, value in values.items():
        _encode_value(struct.fields[key], value)
    return struct


def _encode_value(target: struct_pb2.Value, value: Any) -> None:
    if value is None:
        target.null_value = struct_pb2.NULL_VALUE
    elif value is UNKNOWN:
        target.string_value = rpc.UNKNOWN
    elif isinstance(value, Secret):
        fields = target.struct_value.fields
        fields[rpc._special_sig_key].string_value = rpc._special_secret_sig
        _encode_value(fields["value"], value.value)
    elif isinstance(value, bool):
        target.bool_value = value
    elif isinstance(value, int | float):
        target.number_value = value
    elif isinstance(value, str):
        target.string_value = value
    elif isinstance(value, Mapping):
        target.struct_value.SetInParent()
        for key, item in value.items():
            _encode_value(target.struct_value.fields[key], item)
    else:
        target.list_value.SetInParent()
        for item in value:
            _encode_value(target.list_value.values.add(), item)


def plain(value: Any) -> Any:
    """Return a copy of ``value`` without any `Secret` around its parts (`UNKNOWN` stays)."""
    if isinstance(value, Secret):
        return plain(value.value)
    if isinstance(value, Mapping):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    return value


def has_unknown(value: Any) -> bool:
    """Return True if any part of ``value`` is not known yet."""
    if isinstance(value, Secret):
        return has_unknown(value.value)
    if isinstance(value, Mapping):
        return any(has_unknown(item) for item in value.values())
    if isinstance(value, list):
        return any(has_unknown(item) for item in value)
    return value is UNKNOWN


def mark_secrets(value: Any, like: Any) -> Any:
    """Return ``value`` with a `Secret` wherever ``like`` has one at the same place."""
    if isinstance(like, Secret):
        return value if isinstance(value, Secret) else Secret(value)
    if isinstance(value, Mapping) and isinstance(like, Mapping):
        return {key: mark_secrets(item, like.get(key)) for key, item in value.items()}
    if isinstance(value, list) and isinstance(like, list) and _any_secret(like):
        if len(value) == len(like):
            return [mark_secrets(item, other) for item, other in zip(value, like, strict=True)]
        # Items can no longer be matched: hiding the whole list is the only safe answer.
        return Secret(value)
    return value


def _any_secret(value: Any) -> bool:
    return next(secret_strings(value), None) is not None


def secret_strings(value: Any, inside: bool = False) -> Iterator[str]:
    """Yield every string that is inside a `Secret`, so that error texts from elsewhere can be cleaned of them."""
    if isinstance(value, Secret):
        yield from secret_strings(value.value, inside=True)
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from secret_strings(item, inside)
    elif isinstance(value, list):
        for item in value:
            yield from secret_strings(item, inside)
    elif inside and isinstance(value, str):
        yield value


def redact(text: str, *values: Any) -> str:
    """Return ``text`` with every secret string (4 characters or more) of ``values`` replaced by ``[secret]``."""
    secret_texts = {item for value in values for item in secret_strings(value) if len(item) >= 4}
    for item in sorted(secret_texts, key=len, reverse=True):
        text = text.replace(item, "[secret]")
    return text
