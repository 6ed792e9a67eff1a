"""A claim and its verdict: intervals against bars that were set beforehand (docs/scorecard.md)."""

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
import pandas as pd

Verdict = Literal["supported", "not supported", "inconclusive", "not testable"]


class Claim(NamedTuple):
    """One line of the scorecard."""

    criterion: str
    """Of docs/scorecard.md; several claims may be about one."""
    claim: str
    value: float
    low: float
    high: float
    control: str
    """What the value is to be compared with, and its figure."""
    n: int
    """Tokens behind the value (members, where it is a share of members)."""
    bar: str
    """What was asked of the value before it was measured."""
    verdict: Verdict
    directions: str = ""
    """Where a claim is about directions: their source."""
    task: str = ""
    """Where it is about one task: its name."""


class Comparison(NamedTuple):
    """The interval of a figure, and the side of the bar where it should lie."""

    low: float
    high: float
    side: Literal["above", "below"]
    bar: float

    @property
    def clears(self) -> bool:
        return self.low > self.bar if self.side == "above" else self.high < self.bar

    @property
    def fails(self) -> bool:
        return self.high <= self.bar if self.side == "above" else self.low >= self.bar


Values = tuple[float, float, float]
"""A figure, and the bounds of its 95% interval."""


def above(values: Values, *bars: float) -> list[Comparison]:
    """That the figure's interval lies above each bar."""
    return [Comparison(*values[1:], "above", bar) for bar in bars]


def below(values: Values, *bars: float) -> list[Comparison]:
    """That the figure's interval lies below each bar."""
    return [Comparison(*values[1:], "below", bar) for bar in bars]


def verdict(tests: Sequence[Comparison]) -> Verdict:
    """Supported if all clear, not supported if one fails. What has no interval decides nothing."""
    if all(test.clears for test in tests):
        return "supported"
    return "not supported" if any(test.fails for test in tests) else "inconclusive"


def judged(
    criterion: str,
    name: str,
    values: Values,
    control: str,
    n: float,
    bar: str,
    comparisons: Sequence[Comparison],
    **which: str,
) -> Claim:
    """A claim with the verdict of its tests."""
    value, low, high = map(float, values)
    return Claim(
        criterion, name, value, low, high, control, int(n), bar, verdict(comparisons), **which
    )


def untestable(criterion: str, name: str, reason: str, **which: str) -> Claim:
    """A claim that these tokens, or this run, cannot decide."""
    return Claim(criterion, name, np.nan, np.nan, np.nan, reason, 0, "", "not testable", **which)


def row(table: pd.DataFrame, **where: object) -> dict[str, Any]:
    """The first row with these values; empty when there is none."""
    for column, value in where.items():
        table = table[table[column] == value]
    return {str(key): value for key, value in table.iloc[0].items()} if len(table) else {}


def interval(found: dict[str, Any], name: str) -> Values:
    """A figure of a row with its `_low` and `_high`."""
    return found[name], found[f"{name}_low"], found[f"{name}_high"]
