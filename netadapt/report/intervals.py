"""What a figure on the page is uncertain by: 95 % intervals of shares, differences and ratios."""

from __future__ import annotations

import math
from dataclasses import dataclass

Z_95 = 1.959964
"""Two-sided 95 % of a normal distribution."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """A value and its interval; the ends are the value itself where nothing is known."""

    value: float
    low: float
    high: float

    @property
    def half_width(self) -> float:
        """The longer of the interval's two arms: "value +- half_width" holds all of it."""
        return max(self.value - self.low, self.high - self.value)

    @property
    def conclusive(self) -> bool:
        """Whether the interval leaves 0 out."""
        return self.low > 0 or self.high < 0


def share(value: float, count: int) -> Estimate:
    """A share of `count` independent trials: Wilson's score interval (1927)."""
    middle = (value + Z_95**2 / (2 * count)) / (1 + Z_95**2 / count)
    spread = value * (1 - value) / count + Z_95**2 / (4 * count**2)
    arm = Z_95 * math.sqrt(spread) / (1 + Z_95**2 / count)
    return Estimate(value, max(middle - arm, 0.0), min(middle + arm, 1.0))


def difference(first: Estimate, second: Estimate) -> Estimate:
    """`first - second` of two shares: Newcombe's hybrid score interval (1998, method 10).

    It takes the two as independent. Shares of the same images rise and fall together, so for
    those it is wider than it had to be.
    """
    value = first.value - second.value
    down = math.hypot(first.value - first.low, second.high - second.value)
    up = math.hypot(first.high - first.value, second.value - second.low)
    return Estimate(value, value - down, value + up)


def ratio(value: float, spreads: tuple[float, float]) -> Estimate:
    """A ratio of two figures that are each uncertain by a share of themselves, independently."""
    factor = 1 + math.hypot(*spreads)
    return Estimate(value, value / factor, value * factor)
