"""The index part and the domain part of M(t), as two linear maps (section 3).

For tokens of an index i (the 3 of `third`) in a domain d (`ordinal_words` in one spelling):

1. M(i, d) = mu + A_i + B_d + rest, by least squares: what tokens of one index share over domains,
   and what tokens of one domain share over indices.
2. Linear maps P_N and P_D from M to those parts: P_N (M - mu) is near A_i, P_D (M - mu) near B_d.
   Ridge regression; each map's penalty has the least error over (index, task) pairs left out.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int

from lm.ordinals import FOLDS

PENALTIES = np.geomspace(1e-4, 1e2, 13)
"""Ridge penalties that are tried, in units of the mean variance of M over its principal axes."""


class Projections(NamedTuple):
    """The two linear maps; for row vectors, so that the index part of M is `(M - mean) @ index`."""

    mean: Float[np.ndarray, " d_model"]
    index: Float[np.ndarray, "d_model d_model"]
    """P_N."""
    domain: Float[np.ndarray, "d_model d_model"]
    """P_D."""


def fit_projections(
    x: Float[np.ndarray, "tokens d_model"],
    index: Int[np.ndarray, " tokens"],
    domain: Int[np.ndarray, " tokens"],
    pair: Int[np.ndarray, " tokens"],
) -> Projections:
    """Fit both maps.

    Args:
        x: M of the fitted tokens.
        index: of each.
        domain: task and spelling of each, numbered.
        pair: index and task of each, numbered: left out together when the penalty is chosen.
    """
    mean = x.mean(0)
    centred = x - mean
    one_hot = [_one_hot(index), _one_hot(domain)]
    effects = np.linalg.lstsq(np.concatenate(one_hot, 1), centred, rcond=1e-9)[0]
    parts = np.split(effects, [one_hot[0].shape[1]])
    targets = [member @ part for member, part in zip(one_hot, parts, strict=True)]
    fold = np.unique(pair, return_inverse=True)[1] % FOLDS
    return Projections(mean, *(_ridge(centred, part - part.mean(0), fold) for part in targets))


def _ridge(x: np.ndarray, y: np.ndarray, fold: np.ndarray) -> Float[np.ndarray, "d_model d_model"]:
    """The map from x to y, with the penalty that predicts folds left out best."""
    errors = np.zeros(len(PENALTIES))
    for f in np.unique(fold):
        here = fold == f
        predict = _ridge_path(x[~here], y[~here], x[here])
        errors += [((predict(penalty) - y[here]) ** 2).sum() for penalty in PENALTIES]
    return _ridge_path(x, y, np.eye(x.shape[1]))(PENALTIES[errors.argmin()])


def _ridge_path(x: np.ndarray, y: np.ndarray, at: np.ndarray) -> Callable[[float], np.ndarray]:
    """Ridge regression of y on x, applied to `at`, as a function of the penalty."""
    left, size, right = np.linalg.svd(x, full_matrices=False)
    loading, moved, unit = left.T @ y, at @ right.T, (size**2).mean()
    return lambda penalty: (moved * (size / (size**2 + penalty * unit))) @ loading


def _one_hot(labels: np.ndarray) -> Float[np.ndarray, "tokens labels"]:
    return (labels[:, None] == np.unique(labels)).astype(float)
