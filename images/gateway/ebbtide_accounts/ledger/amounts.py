"""Amounts in whole numbers: dollars, GPU microseconds, and those of them without a price, at a common denominator. Sums
of many fractions would be slow, and sums of floats would not be exact.
"""

from __future__ import annotations

from fractions import Fraction
from typing import NamedTuple

from .records import HOUR


class Rate(NamedTuple):
    """Amounts for each microsecond."""

    dollars: Fraction
    gpus: Fraction
    unpriced: Fraction

    def denominators(self) -> tuple[int, int, int]:
        """Return the denominators, of which a common one is made."""
        return self.dollars.denominator, self.gpus.denominator, self.unpriced.denominator

    def whole(self, denominator: int) -> Whole:
        """Return it in parts of ``denominator``, which is a multiple of each of its own."""
        dollars, gpus, unpriced = (each.numerator * (denominator // each.denominator) for each in self)
        return Whole(dollars, gpus, unpriced)


class Whole(NamedTuple):
    """Amounts, or amounts for each microsecond, as whole numbers of some denominator."""

    dollars: int = 0
    gpus: int = 0
    unpriced: int = 0

    def plus(self, other: Whole) -> Whole:
        """Return the sum of two."""
        return Whole(self.dollars + other.dollars, self.gpus + other.gpus, self.unpriced + other.unpriced)


def rate(usd_per_hour: Fraction | None, part: Fraction, gpus: Fraction) -> Rate:
    """Return the rate of a part of a node's price, in which there are so many GPUs."""
    dollars = Fraction(0) if usd_per_hour is None else usd_per_hour * part / HOUR
    return Rate(dollars, gpus, gpus if usd_per_hour is None else Fraction(0))
