"""The tens digit: the feature stands for the numbers with a given last digit but one.

Null: whole decades change places, so that what a feature knows of the units is no evidence for the
tens. A digit needs three decades at least: with fewer, the largest of ten digits' scores is reached
by one permutation in twenty. (The hundreds digit of numbers below a thousand is an interval, and is
tried as one: see `order`.)
"""

import numpy as np
import pandas as pd

from features.hypotheses.family import Family, Hypothesis

MIN_DECADES = 3
"""Decades that each tens digit needs."""


def digit_family(table: pd.DataFrame) -> Family | None:
    """`tens/<digit>`; None where some digit has too few decades."""
    rows = np.flatnonzero(table["task"] == "numbers")
    decades, unit = np.unique(table["index"].to_numpy()[rows] // 10, return_inverse=True)
    if np.bincount(decades % 10, minlength=10).min() < MIN_DECADES:
        return None
    everything = np.zeros(len(decades), dtype=int)
    return Family(
        "digit",
        [Hypothesis(f"tens/{digit}") for digit in range(10)],
        rows,
        unit,
        stratum=everything,
        block=everything,
        contrasts=np.eye(10)[:, decades % 10],
        home=np.zeros(10, dtype=int),
    )
