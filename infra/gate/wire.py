"""From the protocol's values to plain ones: without the marks of secrets, references and files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from infra.gate import sdk
from infra.gate.late import Late, Ledger, joined

HIDDEN = "[secret]"


class Wire:
    """Reads a registration's inputs."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger

    def values(self, struct: Any, secrets: set[str]) -> dict[str, Any]:
        """The inputs with late values as tokens and secrets in clear, for the program to go on with; ``secrets`` gets
        the paths that held one."""
        return {key: self._plain(value, joined("", key), secrets) for key, value in struct.fields.items()}

    def _plain(self, value: Any, at: str, secrets: set[str]) -> Any:
        kind = value.WhichOneof("kind")
        if kind == "string_value":
            return value.string_value
        if kind == "number_value":
            number = value.number_value
            return int(number) if number.is_integer() else number
        if kind == "bool_value":
            return value.bool_value
        if kind == "list_value":
            return [self._plain(item, f"{at}[{i}]", secrets) for i, item in enumerate(value.list_value.values)]
        if kind == "struct_value":
            return self._mapping(value.struct_value.fields, at, secrets)
        return None

    def _mapping(self, fields: Any, at: str, secrets: set[str]) -> Any:
        mark = fields[sdk.SIGNATURE].string_value if sdk.SIGNATURE in fields else None
        if mark == sdk.SECRET:
            secrets.add(at)
            return self._plain(fields["value"], at, set())
        if mark == sdk.RESOURCE:
            return Late(self.ledger, fields["urn"].string_value, "id" if "id" in fields else "urn")
        if mark in (sdk.ASSET, sdk.ARCHIVE):
            return {key: self._plain(value, at, secrets) for key, value in fields.items() if key != sdk.SIGNATURE}
        return {key: self._plain(value, joined(at, key), secrets) for key, value in fields.items()}

    def shown(self, sent: Mapping[str, Any], secrets: set[str]) -> dict[str, Any]:
        """The same for people: late values spelled out, secrets hidden."""
        return {key: self._show(sent[key], joined("", key), secrets) for key in sorted(sent)}

    def _show(self, value: Any, at: str, secrets: set[str]) -> Any:
        if at in secrets:
            return HIDDEN
        if isinstance(value, str):
            return self.ledger.written(value)
        if isinstance(value, dict):
            # the protocol keeps no order of keys: theirs is the alphabet's, so that two runs agree
            return {self.ledger.written(key): self._show(value[key], joined(at, key), secrets) for key in sorted(value)}
        if isinstance(value, list):
            return [self._show(item, f"{at}[{index}]", secrets) for index, item in enumerate(value)]
        return value
