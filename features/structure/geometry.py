"""At which periods do the numbers repeat in M? The Fourier power of the class means M(n)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from features.statistics import shuffled_indices
from features.structure.class_means import class_means
from training.activations import Activations

PERIODS = (2, 5, 7, 9, 10, 11, 12, 20, 25, 50, 100)
"""Those that decimal numerals suggest, and 7, 9, 11 and 12, which they do not."""
BAND_IN_PERIODS = 2
"""Width of the permutation bands, so that a trend over many periods is in the null too."""


def spectrum_periods(n: int) -> tuple[float, ...]:
    """Periods at evenly spaced frequencies, twice as fine as n numbers resolve, for a figure."""
    return tuple(2 * n / k for k in range(4, n + 1))


def whole_periods(periods: Sequence[float], n: int) -> list[float]:
    """Those that fit into n numbers often enough for the control to shuffle them."""
    return [period for period in periods if BAND_IN_PERIODS * period <= n]


def fourier_power(
    activations: Activations,
    periods: Sequence[float] = PERIODS,
    *,
    permutations: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Share of the variance of M(n), less its straight trend, at each period.

    The control shuffles the numbers within bands of two periods or more. What changes slowly over
    the bands stays in it, and is not counted as a period. Two periods that differ by less than one
    turn over the numbers share their power.

    Returns:
        One row per period that the numbers hold twice: `period`; `power`; `null_mean` and
        `null_95`, the mean and 95th percentile of the shuffled numbers' power; `p_value`; `n`, the
        numbers. No interval: M has no noise, and the numbers are all there are.
    """
    index, means = class_means(activations, "numbers")
    trend = _orthonormal(np.stack([np.ones(len(index)), index], 1))
    residual = means - trend @ (trend.T @ means)
    gram = residual @ residual.T / (residual**2).sum()
    rows = []
    for period in whole_periods(periods, len(index)):
        basis = _orthonormal(waves(index, [period]))
        band = int(np.ceil(BAND_IN_PERIODS * period))
        shuffled = np.searchsorted(index, shuffled_indices(index, band, permutations, seed))
        power = float((basis * (gram @ basis)).sum())
        moved = basis[shuffled]
        null = (moved * (gram @ moved)).sum((1, 2))
        rows.append(
            {
                "period": period,
                "power": power,
                "null_mean": float(null.mean()),
                "null_95": float(np.percentile(null, 95)),
                "p_value": (1 + int((null >= power).sum())) / (1 + permutations),
                "n": len(index),
            }
        )
    return pd.DataFrame(rows)


def waves(index: Int[np.ndarray, " n"], periods) -> Float[np.ndarray, "n waves"]:
    """Cosine and sine of each period, side by side."""
    angle = 2 * np.pi * index[:, None] / np.asarray(periods, dtype=float)
    return np.stack([np.cos(angle), np.sin(angle)], 2).reshape(len(index), -1)


def _orthonormal(columns: Float[np.ndarray, "n k"]) -> Float[np.ndarray, "n rank"]:
    left, size, _ = np.linalg.svd(columns, full_matrices=False)
    return left[:, size > 1e-6 * size[0]]
