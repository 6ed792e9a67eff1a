"""Tables of the report: cells as text, numbers with their intervals."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

NOTHING = "–"


class Table(NamedTuple):
    """Rows of text under their headings."""

    headings: list[str]
    rows: list[list[str]]
    n_text: int = 1
    """Columns from the left that are words; the others are figures."""


def number(value: object, digits: int = 2) -> str:
    """A figure as it is printed; a dash for one that is missing."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return NOTHING
    if isinstance(value, float):
        small = 0 < abs(value) < 10**-digits
        return f"{value:.1g}" if small else f"{value:.{digits}f}".replace("-", "−")
    return f"{value:,}" if isinstance(value, int) else str(value)


def interval(value: float | None, low: float | None, high: float | None) -> str:
    """`0.93 [0.90, 0.96]`."""
    if value is None or math.isnan(value):
        return NOTHING
    if low is None or high is None or math.isnan(low):
        return f"{value:.2f}"
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def from_frame(
    table: pd.DataFrame,
    columns: dict[str, str],
    intervals: Sequence[str] = (),
    n_text: int = 1,
) -> Table:
    """Some columns of a data frame under other names.

    Args:
        table: the rows.
        columns: heading of each column shown.
        intervals: columns printed with `<column>_low` and `<column>_high`.
        n_text: columns of words, from the left.
    """
    rows = []
    for row in table.to_dict("records"):
        cells = [
            interval(row[name], row[f"{name}_low"], row[f"{name}_high"])
            if name in intervals
            else number(row[name])
            for name in columns
        ]
        rows.append(cells)
    return Table(list(columns.values()), rows, n_text)
