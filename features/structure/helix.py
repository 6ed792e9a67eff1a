"""Do the numbers lie on a helix in M? (Kantamneni & Tegmark 2025, arXiv 2502.00873)

The generalised helix: M(n) = a + b n + sum over periods T of c_T cos(2 pi n / T) +
s_T sin(2 pi n / T), fitted by least squares to the class means M(n), averaged over spellings.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from features.statistics import bootstrap_means
from features.structure.class_means import class_means, in_span
from features.structure.geometry import PERIODS, waves, whole_periods
from lm.errors import OrdinalError
from lm.ordinals import FOLDS
from training.activations import Activations

HELIX = (2, 5, 10, 100)
"""The paper's periods."""
LARGEST_MODULUS = 12
"""Above it the overtones are as many as the numbers allow."""


def harmonics(period: float) -> tuple[float, ...]:
    """The period and its overtones down to 2: together they fit any function of n mod period."""
    return tuple(period / k for k in range(1, int(period // 2) + 1))


def helix(
    activations: Activations,
    periods: Sequence[float] = HELIX,
    *,
    controls: int = 100,
    seed: int = 0,
) -> dict[str, float]:
    """How well a line and circles of given periods, fitted on four fifths, predict the last.

    `helix(activations, harmonics(10))` fits all that is a function of n mod 10.

    The control has as many circles, each of a period drawn from half to twice the one it stands
    for, and told apart from it by at least one turn over the numbers.

    Returns:
        `r2`, the share of variance predicted on the fifths left out, with `r2_low` and `r2_high`
        (95%, over numbers); `r2_line`, of the line alone; `r2_random_mean` and `r2_random_95` of
        the control, and `p_value` against it; `radius` and `axis_ratio` of the circle of the first
        period (root mean square distance from the axis, in units of M's; shorter axis over longer:
        0 is a line); `n`, the numbers.

    Raises:
        OrdinalError: there are too few numbers for a period.
    """
    index, means = class_means(activations, "numbers")
    if not periods or len(whole_periods(periods, len(index))) < len(periods):
        raise OrdinalError(
            f"{len(index)} numbers cannot show the periods {list(periods)}: give at least one, and "
            "none longer than half the count of numbers."
        )
    means = in_span(means)
    fold = _folds(activations, index)
    total = (means**2).sum(1)
    error = _left_out_error(index, means, fold, periods)
    drawn = bootstrap_means(np.stack([error, total]), np.arange(len(index)), seed=seed).draws
    low, high = np.percentile(1 - drawn[:, 0] / drawn[:, 1], [2.5, 97.5])
    r2 = 1 - error.sum() / total.sum()
    others = _other_periods(np.tile(periods, (controls, 1)), len(index), seed)
    null = np.array(
        [1 - _left_out_error(index, means, fold, other).sum() / total.sum() for other in others]
    )
    circle = _fit(index, means, periods)[2:4]
    spread = np.linalg.svd(waves(index, periods[:1]) @ circle, compute_uv=False)
    return {
        "r2": float(r2),
        "r2_low": float(low),
        "r2_high": float(high),
        "r2_line": float(1 - _left_out_error(index, means, fold, ()).sum() / total.sum()),
        "r2_random_mean": float(null.mean()),
        "r2_random_95": float(np.percentile(null, 95)),
        "p_value": (1 + int((null >= r2).sum())) / (1 + controls),
        "radius": float(np.sqrt((spread**2).sum() / total.sum())),
        "axis_ratio": float(spread[1] / spread[0]),
        "n": len(index),
    }


def helices(activations: Activations, *, seed: int = 0) -> pd.DataFrame:
    """`helix` of each period, of each modulus with its harmonics, and of the paper's four together.

    Returns:
        One row a fit: `fit` (`period 10`, `modulus 10`, `helix`) and the keys of `helix`.
    """
    fits: dict[str, Sequence[float]] = {f"period {t}": (t,) for t in PERIODS}
    fits |= {f"modulus {m}": harmonics(m) for m in PERIODS if m <= LARGEST_MODULUS}
    fits |= {"helix": HELIX}
    n = len(class_means(activations, "numbers").index)
    return pd.DataFrame(
        [
            {"fit": name, **helix(activations, periods, seed=seed)}
            for name, periods in fits.items()
            if len(whole_periods(periods, n)) == len(periods)
        ]
    )


def circle_coordinates(activations: Activations, period: float) -> Float[np.ndarray, "numbers 2"]:
    """Where each number lies in the plane of one circle that was fitted without it.

    Coordinates are in units of the circle's own cosine and sine vectors: (cos, sin) of 2 pi n / T
    for a perfect circle. The line is taken off first.
    """
    index, means = class_means(activations, "numbers")
    fold = _folds(activations, index)
    points = np.empty((len(index), 2))
    for f in range(FOLDS):
        here = fold == f
        fitted = _fit(index[~here], means[~here], [period])
        line = _design(index[here], []) @ fitted[:2]
        points[here] = (means[here] - line) @ np.linalg.pinv(fitted[2:4])
    return points


def _other_periods(
    periods: Float[np.ndarray, "controls k"], n: int, seed: int
) -> Float[np.ndarray, "controls k"]:
    rng = np.random.default_rng(seed)
    others = periods.astype(float)
    while (close := np.abs(n / others - n / periods) < 1).any():
        factor = 2 ** rng.uniform(-1, 1, int(close.sum()))
        others[close] = np.maximum(periods[close] * factor, 2)
    return others


def _left_out_error(
    index: Int[np.ndarray, " n"],
    means: Float[np.ndarray, "n d_model"],
    fold: Int[np.ndarray, " n"],
    periods: Sequence[float] | np.ndarray,
) -> Float[np.ndarray, " n"]:
    error = np.empty(len(index))
    for f in range(FOLDS):
        here = fold == f
        predicted = _design(index[here], periods) @ _fit(index[~here], means[~here], periods)
        error[here] = ((means[here] - predicted) ** 2).sum(1)
    return error


def _fit(index, means, periods) -> Float[np.ndarray, "columns d_model"]:
    """Least squares; the shortest solution, because the sine of period 2 is 0 at every n."""
    return np.linalg.lstsq(_design(index, periods), means, rcond=1e-9)[0]


def _design(index: Int[np.ndarray, " n"], periods) -> Float[np.ndarray, "n columns"]:
    line = np.stack([np.ones(len(index)), index / 100], 1)
    return np.concatenate([line, waves(index, periods)], 1)


def _folds(activations: Activations, index: Int[np.ndarray, " n"]) -> Int[np.ndarray, " n"]:
    table = activations.tokens.table
    numbers = table[table["task"] == "numbers"].drop_duplicates("index").set_index("index")
    return numbers.loc[index, "fold"].to_numpy()
