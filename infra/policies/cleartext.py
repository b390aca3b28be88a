"""Secrets in manifests: found by their look, never shown."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from infra.config.cleartext import REDACTED, Secrets
from infra.policies.seen import HIDDEN, Unknown

_BY_NAME = re.compile(r"(^|_)(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?)$", re.IGNORECASE)
_FLAGS = re.compile(r"--(api-key|hf-token|.*-(token|password|secret))(=(?P<value>.+))?", re.IGNORECASE)


def plain(value: Any) -> Any:
    """The same nest in plain mappings and lists."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value


def texts_with_secrets(value: Any, path: str = "") -> Iterator[str]:
    """Paths of texts that hold a secret: by its look anywhere, by its variable's or flag's name in a container."""
    if isinstance(value, (Unknown, bool, int, float, type(None))):
        return
    if isinstance(value, str):
        if value != HIDDEN and Secrets().redact(value) != value and REDACTED not in value:
            yield path
    elif isinstance(value, Mapping):
        name, given = value.get("name"), value.get("value")
        named = isinstance(name, str) and isinstance(given, str) and bool(_BY_NAME.search(name))
        if named and given not in ("", HIDDEN):
            yield f"{path}.value"
            return
        for key, item in value.items():
            yield from texts_with_secrets(item, f"{path}.{key}" if path else str(key))
    else:
        items = list(value)
        for index, item in enumerate(items):
            match = _FLAGS.fullmatch(item) if isinstance(item, str) else None
            following = items[index + 1] if index + 1 < len(items) else ""
            if match and (match["value"] or (isinstance(following, str) and following and following[:2] != "--")):
                yield f"{path}[{index}]"
            else:
                yield from texts_with_secrets(item, f"{path}[{index}]")
