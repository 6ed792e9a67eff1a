"""Ordinal directions: monotone in the index, within a task and across tasks."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float
from scipy.stats import rankdata

from features.statistics import bootstrap_means, clusters
from lm.ordinals import OrdinalTokens

MONOTONE = 0.7
"""Rank correlation with the index, in absolute value, that an ordinal feature needs."""
MIN_INDICES = 5
"""Distinct indices that a task needs before a rank correlation in it means anything."""


def rank_correlations(
    values: Float[np.ndarray, "rows latents"], index: np.ndarray
) -> Float[np.ndarray, " latents"]:
    """Spearman's rho of each latent with the index; 0 where a latent is constant."""
    ranks = rankdata(values, axis=0)
    ranks -= ranks.mean(0)
    order = rankdata(index) - (len(index) + 1) / 2
    spread = np.sqrt((ranks**2).sum(0) * (order**2).sum())
    return np.divide(order @ ranks, spread, out=np.zeros(values.shape[1]), where=spread > 0)


def ordered_tasks(table: pd.DataFrame) -> list[str]:
    """The tasks long enough for a rank correlation, held-out tasks apart."""
    usable = table[~table["held_out_task"]].groupby("task", sort=False)["index"].nunique()
    return [str(task) for task in usable.index[usable >= MIN_INDICES]]


class OrdinalDirection(NamedTuple):
    """The direction that M(t) moves along as the index grows, and how well the index is read there.

    It is the covariance of M with the index (the pattern, not the weights of a regression), because
    it is meant to be added to M as the class means are.
    """

    name: str
    """`ordinal/<task>` or `ordinal/shared`."""
    vector: Float[np.ndarray, " d_model"]
    r2: float
    """Share of the index's variance that the projection on it predicts, on indices left out."""
    r2_low: float
    r2_high: float
    """95% interval, over elements."""
    r2_permuted: float
    """What 19 in 20 permutations of the elements stay below: the control."""
    p_value: float
    n_tokens: int


def ordinal_directions(
    x: Float[np.ndarray, "tokens d_model"],
    tokens: OrdinalTokens,
    *,
    permutations: int = 200,
    seed: int = 0,
) -> list[OrdinalDirection]:
    """The direction of the index in M(t), by task and over all tasks together.

    Within `ordinal/shared` the index is standardised and M centred within each task, so that the
    direction cannot live on the differences between tasks.
    """
    table = tokens.table
    tasks = ordered_tasks(table)
    out = []
    for name, chosen in [(task, [task]) for task in tasks] + [("shared", tasks)]:
        rows = table["task"].isin(chosen).to_numpy()
        if not rows.any():
            continue
        part = table[rows]
        target = standardised_index(part)
        _, group = np.unique(part["task"], return_inverse=True)
        features = (
            x[rows] - np.stack([x[rows][group == g].mean(0) for g in range(group.max() + 1)])[group]
        )
        fold = part["fold"].to_numpy()
        rng = np.random.default_rng(seed)
        error = (target - _left_out(features, target[:, None], fold)[:, 0]) ** 2
        r2 = float(_r2(error, target))
        bootstrap = bootstrap_means(np.stack([error, target**2]), clusters(part), seed=seed)
        low, high = np.percentile(1 - bootstrap.draws[:, 0] / bootstrap.draws[:, 1], [2.5, 97.5])
        moved = permuted_targets(part, permutations, rng)
        null = _r2((moved - _left_out(features, moved, fold)) ** 2, moved)
        out.append(
            OrdinalDirection(
                f"ordinal/{name}",
                _direction(features, target),
                r2,
                float(low),
                float(high),
                float(np.percentile(null, 95)),
                (1 + int((null >= r2).sum())) / (1 + permutations),
                int(rows.sum()),
            )
        )
    return out


def _direction(x: np.ndarray, y: np.ndarray) -> Float[np.ndarray, " d_model"]:
    covariance = x.T @ y
    return covariance / max(np.linalg.norm(covariance), np.finfo(float).tiny)


def _left_out(
    x: Float[np.ndarray, "tokens d_model"],
    targets: Float[np.ndarray, "tokens targets"],
    fold: np.ndarray,
) -> Float[np.ndarray, "tokens targets"]:
    """Each fold predicted along the direction of the others, for every target."""
    predicted = np.empty_like(targets)
    for f in np.unique(fold):
        here, others = fold == f, fold != f
        direction = x[others].T @ targets[others]
        along = x[others] @ direction
        size = np.maximum((along**2).sum(0), 1e-300)
        predicted[here] = (x[here] @ direction) * ((along * targets[others]).sum(0) / size)
    return predicted


def _r2(error: np.ndarray, y: np.ndarray) -> np.ndarray:
    return 1 - error.sum(0) / (y**2).sum(0)


def standardised_index(table: pd.DataFrame) -> Float[np.ndarray, " tokens"]:
    """The index with mean 0 and variance 1 within each task."""
    index = table.groupby("task")["index"]
    return ((table["index"] - index.transform("mean")) / index.transform("std")).to_numpy()


def permuted_targets(
    part: pd.DataFrame, count: int, rng: np.random.Generator
) -> Float[np.ndarray, "tokens count"]:
    """The index with the elements of each task shuffled, spellings together, and standardised."""
    out = np.empty((len(part), count))
    task, index = part["task"].to_numpy(), part["index"].to_numpy()
    for name in np.unique(task):
        rows = task == name
        distinct, element = np.unique(index[rows], return_inverse=True)
        shuffled = rng.permuted(np.tile(distinct, (count, 1)), axis=1)
        moved = shuffled[:, element].T.astype(float)
        out[rows] = (moved - moved.mean(0)) / moved.std(0, ddof=1)
    return out
