"""Dollars an hour and of a day or a month, and the reason given for spending them around the clock."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any

from pydantic import BeforeValidator

from components.typed.fields import text
from components.typed.rules.pools import MONEY_INVALID, REASON_INVALID

_MOST = 1_000_000.0


def _amount(value: Any, unit: str) -> float:
    number = value if isinstance(value, (int, float)) and not isinstance(value, bool) else None
    if number is None or not 0 < number <= _MOST:
        raise MONEY_INVALID.refusal(
            "is not an amount of dollars",
            allowed=f"a number above 0, in {unit}",
            fix="write it like 12.50, without a currency",
        )
    return float(number)


Dollars = Annotated[float, BeforeValidator(partial(_amount, unit="US dollars an hour"))]
Budget = Annotated[float, BeforeValidator(partial(_amount, unit="US dollars"))]
Reason = Annotated[
    str,
    text(
        REASON_INVALID,
        r"(?s)\s*\S.{6,398}\S\s*",
        "is not a reason that another person could judge",
        allowed="a sentence of 8 to 400 characters",
        fix="say who needs it and until when",
    ),
]
