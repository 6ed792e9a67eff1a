"""How much of a feature each hypothesis explains, on tokens that its fit has not seen."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from features.hypotheses.family import Family


class Moments(NamedTuple):
    """Sums over the tokens of each part, from which lines are fitted and judged in closed form.

    A hypothesis is fitted by least squares, feature ~ a + b * contrast, over the tokens of its
    block. Tokens, not units: what a feature's spellings disagree on stays unexplained.
    """

    n: Float[np.ndarray, "parts hypotheses 1"]
    c: Float[np.ndarray, "parts hypotheses 1"]
    cc: Float[np.ndarray, "parts hypotheses 1"]
    y: Float[np.ndarray, "parts hypotheses latents"]
    yy: Float[np.ndarray, "parts hypotheses latents"]
    cy: Float[np.ndarray, "parts hypotheses latents"]

    def of(self, parts: Sequence[int]) -> "Moments":
        """Of some parts together."""
        return Moments(*(sums[list(parts)].sum(0) for sums in self))


def moments(
    family: Family,
    values: Float[np.ndarray, "tokens latents"],
    part: Int[np.ndarray, " tokens"],
    parts: int,
) -> Moments:
    """Sums over the tokens of each part, numbered from 0."""
    y, of = values[family.rows], part[family.rows]
    contrast = np.where(family.home[:, None] == family.block, family.contrasts, 0)[:, family.unit]
    inside = np.eye(family.home.max() + 1)[:, family.block[family.unit]]

    def sums(weights: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.stack([weights[:, of == p] @ x[of == p] for p in range(parts)])

    ones = np.ones((len(y), 1))
    return Moments(
        n=sums(inside, ones)[:, family.home],
        c=sums(contrast, ones),
        cc=sums(contrast**2, ones),
        y=sums(inside, y)[:, family.home],
        yy=sums(inside, y**2)[:, family.home],
        cy=sums(contrast, y),
    )


def left_out_r2(
    family: Family, sums: Moments, folds: Sequence[int], fitted: Sequence[int]
) -> Float[np.ndarray, "hypotheses latents"]:
    """Share of the variance over the tokens of `folds` that the hypotheses predict.

    Each fold is predicted by a line fitted to the other parts of `fitted`; the variance is about
    the mean of those parts. A slope against the hypothesis's sign predicts nothing. NaN where the
    tokens of `folds` are all alike to a hypothesis: there it cannot be put to the test.
    """
    error = spread = varied = np.zeros(1)
    sign = np.array([[hypothesis.sign] for hypothesis in family.hypotheses])
    for fold in folds:
        fit, test = sums.of([p for p in fitted if p != fold]), sums.of([fold])
        n, n_test = np.maximum(fit.n, 1), test.n
        variance = fit.cc - fit.c**2 / n
        slope = (fit.cy - fit.c * fit.y / n) / np.where(variance > 1e-9 * fit.cc, variance, np.inf)
        slope = np.where(slope * sign > 0, slope, 0)
        shift, mean = (fit.y - slope * fit.c) / n, fit.y / n
        error = error + (
            test.yy
            - 2 * (shift * test.y + slope * test.cy)
            + n_test * shift**2
            + 2 * shift * slope * test.c
            + slope**2 * test.cc
        )
        spread = spread + (test.yy - 2 * mean * test.y + n_test * mean**2)
        varied = varied + (test.cc * n_test - test.c**2 > 1e-9 * test.cc)
    r2 = np.where(spread > 0, 1 - error / np.where(spread > 0, spread, 1), 0)
    return np.where(varied > 0, r2, np.nan)
