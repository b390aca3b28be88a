"""Figures as a person reads them. ``None`` is unknown everywhere."""

from __future__ import annotations

from typing import Any

UNKNOWN = "unknown"
_GIB = 2**30


def gib(size: float | None) -> str:
    """``14.96 GiB``; small ones in MiB or KiB."""
    if size is None:
        return UNKNOWN
    for unit, name in ((2**40, "TiB"), (_GIB, "GiB"), (2**20, "MiB"), (2**10, "KiB")):
        if abs(size) >= unit:
            return f"{size / unit:,.2f}".rstrip("0").rstrip(".") + f" {name}"
    return f"{size:,.0f} B"


def in_gib(size: float | None) -> str:
    """``14.96``, where the unit stands in the heading."""
    return UNKNOWN if size is None else f"{size / _GIB:,.2f}"


def usd(amount: float | None) -> str:
    """``4.10``; thousands grouped, and from there on without cents."""
    if amount is None:
        return UNKNOWN
    return f"{amount:,.0f}" if amount >= 1000 else f"{amount:,.2f}"


def span(seconds: float | None) -> str:
    """``53 s``, ``4 min 24 s``, ``1 h 5 min``."""
    if seconds is None:
        return UNKNOWN
    if seconds < 10:
        return f"{seconds:.1f} s".replace(".0 ", " ")
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 120:
        return f"{minutes} min" + (f" {rest} s" if rest else "")
    return f"{minutes // 60} h" + (f" {minutes % 60} min" if minutes % 60 else "")


def count(number: float | None) -> str:
    """``8,192``."""
    return UNKNOWN if number is None else f"{number:,.0f}"


def parameters(number: int | None) -> str:
    """``8.0 B``."""
    if number is None:
        return UNKNOWN
    return f"{number / 1e9:.1f} B" if number >= 1e9 else f"{number / 1e6:.0f} M"


def shown(value: Any) -> str:
    """A value of a change."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def headline(verdict: str, findings: int) -> str:
    """The verdict in a sentence."""
    some = f"{findings} finding{'s' if findings != 1 else ''}"
    return {
        "clean": "Clean: nothing found.",
        "warnings": f"{some}, none of which stops the stack.",
        "errors": f"{some}: with these nothing may be created.",
    }[verdict]
