"""What the policy SDK hands over, as plain values with unknowns marked: the one place that knows the SDK's inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

from pulumi_policy import proxy
from pulumi_policy.proxy import UnknownValueError

from infra.policies.seen import Unknown


class NotEvaluatedYet(UnknownValueError):
    """Raised out of a policy: the SDK tells the engine, as an advisory, that the policy could not run."""

    def __init__(self, message: str) -> None:
        super().__init__(proxy.UNKNOWN_STRING_VALUE, [])
        self.message = message


def plain(value: Any) -> Any:
    """``value`` without the SDK's proxies, which raise on unknown values; those become ``Unknown``. Whole numbers are
    ``int`` again: the protocol only has one kind of number."""
    if isinstance(value, (proxy._DictProxy, proxy._ListProxy)):
        value = cast(Any, value)["__target"]
    if isinstance(value, str):
        return Unknown() if proxy._is_unknown(value) else value
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, Sequence):
        return [plain(item) for item in value]
    return value
