"""Do two models hold the same number features, up to a rotation?

Over the numbers that are single tokens of both, in the spellings that both have: M is averaged
over an element's spellings, so that permuting elements moves all their spellings together. There
are two controls. In any order: models that share nothing at all. Within bands of 20 numbers: models
that share only the size of numbers, which any two models trained on text do. Size still varies
within a band, so read the value beside that control, not its p-value alone.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from scipy.linalg import orthogonal_procrustes
from scipy.stats import rankdata

from features.statistics import shuffled_indices
from features.structure.class_means import class_means, in_span
from lm.errors import OrdinalError
from training.activations import Activations

DIMENSIONS = 16
"""Principal components that are rotated onto each other; with more, a rotation fits noise."""
BAND = 20
"""Width of the second control's bands, in numbers: two turns of the last digit."""
MIN_ELEMENTS = 3 * DIMENSIONS
"""Half of them fit the rotation."""


class Similarity(NamedTuple):
    """How alike two models' numbers are."""

    value: float
    low: float
    high: float
    """95% interval, over elements."""
    null_95: float
    """What 19 in 20 permutations of one model's elements stay below."""
    p_value: float
    null_banded_95: float
    """The same for permutations within bands of 20 numbers."""
    p_banded: float
    n: int
    """Elements."""


def representational_similarity(
    a: Activations, b: Activations, *, permutations: int = 500, seed: int = 0
) -> Similarity:
    """Spearman's correlation of the two models' cosine distances between numbers (RSA).

    Kriegeskorte et al. 2008. M is centred first, or what all numbers share would set every cosine.

    Raises:
        OrdinalError: too few numbers are single tokens of both models.
    """
    index, mine, theirs = _shared(a, b)
    pairs = np.triu_indices(len(index), 1)
    ranks = [_ranked(_cosines(m), pairs) for m in (mine, theirs)]

    def correlation(order: Int[np.ndarray, " elements"]) -> float:
        return float(np.corrcoef(ranks[0][pairs], ranks[1][np.ix_(order, order)][pairs])[0, 1])

    rng = np.random.default_rng(seed)
    draws = []
    for _ in range(200):
        drawn = rng.integers(0, len(index), len(index))
        i, j = drawn[pairs[0]], drawn[pairs[1]]
        apart = i != j  # an element is no evidence about its distance to itself
        draws.append(np.corrcoef(ranks[0][i, j][apart], ranks[1][i, j][apart])[0, 1])
    return _similarity(correlation, draws, index, permutations, seed)


def procrustes(
    a: Activations, b: Activations, *, permutations: int = 500, seed: int = 0
) -> Similarity:
    """Share of the second model's variance that the first, rotated and rescaled, predicts.

    On half of the elements: the principal components of each model, and the orthogonal map and
    scale between them (Schönemann 1966). `value` is the R2 over those components on the other half;
    below 0 it is worse than the mean. It is not symmetric where one model has more noise.

    Raises:
        OrdinalError: too few numbers are single tokens of both models.
    """
    index, mine, theirs = _shared(a, b)
    rng = np.random.default_rng(seed)
    fitted = rng.permutation(len(index)) < len(index) // 2
    x = _components(mine, fitted)
    theirs = in_span(theirs)

    def errors(order: Int[np.ndarray, " elements"]) -> Float[np.ndarray, "2 held_out"]:
        y = _components(theirs[order], fitted)
        rotation, scale = orthogonal_procrustes(x[fitted], y[fitted])
        predicted = x[~fitted] @ rotation * scale / (x[fitted] ** 2).sum()
        return np.stack([((y[~fitted] - predicted) ** 2).sum(1), (y[~fitted] ** 2).sum(1)])

    def r2(order: Int[np.ndarray, " elements"]) -> float:
        error, total = errors(order).sum(1)
        return float(1 - error / total)

    observed = errors(np.arange(len(index)))
    sample = rng.integers(0, observed.shape[1], (1000, observed.shape[1]))
    error, total = observed[:, sample].sum(2)
    return _similarity(r2, 1 - error / total, index, permutations, seed)


def _similarity(
    statistic: Callable[[Int[np.ndarray, " elements"]], float],
    draws: Float[np.ndarray, " draws"] | list[float],
    index: Int[np.ndarray, " elements"],
    permutations: int,
    seed: int,
) -> Similarity:
    value = statistic(np.arange(len(index)))
    nulls = []
    for band in (int(index.max()) + 1, BAND):
        shuffled = np.searchsorted(index, shuffled_indices(index, band, permutations, seed))
        nulls.append(np.array([statistic(order) for order in shuffled]))
    p_values = [(1 + int((null >= value).sum())) / (1 + permutations) for null in nulls]
    low, high = np.percentile(draws, [2.5, 97.5])
    return Similarity(
        value,
        float(low),
        float(high),
        float(np.percentile(nulls[0], 95)),
        p_values[0],
        float(np.percentile(nulls[1], 95)),
        p_values[1],
        len(index),
    )


def _shared(a: Activations, b: Activations) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Indices, and both models' class means, of the numbers whose text both have as one token."""
    names = [
        pd.MultiIndex.from_frame(act.tokens.table[["task", "index", "form"]]) for act in (a, b)
    ]
    means = []
    for act, own, other in ((a, *names), (b, *names[::-1])):
        keep = own.isin(other)
        part = Activations(act.x[torch.tensor(keep)], act.tokens.select(keep))
        means.append(class_means(part, "numbers"))
    index = means[0].index
    if len(index) < MIN_ELEMENTS:
        raise OrdinalError(
            f"{a.model_name} and {b.model_name} share {len(index)} numbers that are single tokens; "
            f"{MIN_ELEMENTS} are needed to compare them."
        )
    return index, means[0].means, means[1].means


def _cosines(m: Float[np.ndarray, "n d_model"]) -> Float[np.ndarray, "n n"]:
    unit = m / np.linalg.norm(m, axis=1, keepdims=True)
    return unit @ unit.T


def _ranked(
    matrix: Float[np.ndarray, "n n"], pairs: tuple[np.ndarray, np.ndarray]
) -> Float[np.ndarray, "n n"]:
    """The symmetric matrix with its entries replaced by their ranks among the pairs."""
    ranks = np.zeros_like(matrix)
    ranks[pairs] = rankdata(matrix[pairs])
    return ranks + ranks.T


def _components(
    m: Float[np.ndarray, "n d_model"], fitted: np.ndarray
) -> Float[np.ndarray, "n dimensions"]:
    centred = m - m[fitted].mean(0)
    return centred @ np.linalg.svd(centred[fitted], full_matrices=False)[2][:DIMENSIONS].T
