"""Intervals and tests by (task, index) clusters: an element's spellings are not independent."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.special import betaincinv

LEVEL = 0.95


def clusters(table: pd.DataFrame) -> Int[np.ndarray, " rows"]:
    """One number per (task, index): all spellings of an element share it."""
    return table.groupby(["task", "index"], sort=False).ngroup().to_numpy()


@dataclass(frozen=True)
class Bootstrap:
    """Means with their bootstrap draws, so that differences and ratios can be paired."""

    estimate: Float[np.ndarray, " k"]
    draws: Float[np.ndarray, "draws k"]
    n_rows: int
    n_clusters: int

    def interval(self) -> Float[np.ndarray, "2 k"]:
        """95% interval: percentiles, or Clopper-Pearson on clusters where every row is 0 or 1."""
        tail = (1 - LEVEL) / 2
        drawn = np.nanpercentile(self.draws, [100 * tail, 100 * (1 - tail)], axis=0)
        exact = clopper_pearson(self.estimate, np.full(len(self.estimate), self.n_clusters))
        return np.where((self.estimate > 0) & (self.estimate < 1), drawn, exact)


def clopper_pearson(
    share: Float[np.ndarray, " k"], n: Float[np.ndarray, " k"]
) -> Float[np.ndarray, "2 k"]:
    """The exact 95% interval of shares of n independent trials.

    Args:
        share: between 0 and 1.
        n: of elements, not of their spellings, which are not independent.
    """
    tail = (1 - LEVEL) / 2
    share, n = np.clip(np.asarray(share, float), 0, 1), np.asarray(n, float)
    hits = share * n
    low = np.where(hits > 0, betaincinv(hits, n - hits + 1, tail), 0.0)
    high = np.where(hits < n, betaincinv(hits + 1, n - hits, 1 - tail), 1.0)
    return np.stack([low, high])


def change_interval(
    draws: Float[np.ndarray, " draws"], estimate: float, n: int
) -> tuple[float, float, float]:
    """A paired difference of shares with its 95% interval.

    Where every element agrees, drawing them again shows no spread: the ends are then those of a
    change that was seen in none of n elements (Clopper-Pearson).
    """
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(draws, [tail, 100 - tail])
    if np.ptp(draws) == 0:
        unseen = float(clopper_pearson(np.zeros(1), np.full(1, n))[1, 0])
        low, high = max(-1.0, estimate - unseen), min(1.0, estimate + unseen)
    return float(estimate), float(low), float(high)


def bootstrap_means(
    values: Float[np.ndarray, "k rows"],
    cluster: Int[np.ndarray, " rows"],
    strata: np.ndarray | None = None,
    *,
    draws: int = 1000,
    seed: int = 0,
) -> Bootstrap:
    """Means of 0-1 (or bounded) rows, with clusters resampled within strata.

    Args:
        values: k quantities over the same rows.
        cluster: rows of one cluster are drawn together.
        strata: when given, the estimate is the mean of the strata's means (the task mean), and
            clusters are drawn within their stratum.
    """
    strata = np.zeros(len(cluster), dtype=int) if strata is None else strata
    rng = np.random.default_rng(seed)
    estimates, resampled, n_clusters = [], [], 0
    for stratum in pd.unique(pd.Series(strata)):
        rows = strata == stratum
        _, member = np.unique(cluster[rows], return_inverse=True)
        n = member.max() + 1
        n_clusters += n
        totals = np.stack([np.bincount(member, row, n) for row in values[:, rows]], 1)
        sizes = np.bincount(member)
        weights = rng.multinomial(n, np.full(n, 1 / n), size=draws)
        estimates.append(values[:, rows].mean(1))
        resampled.append((weights @ totals) / (weights @ sizes)[:, None])
    return Bootstrap(
        np.mean(estimates, axis=0), np.mean(resampled, axis=0), values.shape[1], n_clusters
    )


def bootstrap_median(
    values: Float[np.ndarray, " rows"],
    cluster: Int[np.ndarray, " rows"],
    *,
    draws: int = 1000,
    seed: int = 0,
) -> tuple[float, float, float]:
    """The median of unbounded rows, and its 95% interval with whole clusters resampled.

    Returns:
        Median, low and high; the ends are NaN for a single cluster, which shows no spread.
    """
    rng = np.random.default_rng(seed)
    groups = [values[cluster == c] for c in np.unique(cluster)]
    median = float(np.median(values))
    if len(groups) < 2:
        return median, np.nan, np.nan
    picks = rng.integers(len(groups), size=(draws, len(groups)))
    drawn = [np.median(np.concatenate([groups[i] for i in pick])) for pick in picks]
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(drawn, [tail, 100 - tail])
    return median, float(low), float(high)


def benjamini_hochberg(p: Float[np.ndarray, " tests"]) -> Float[np.ndarray, " tests"]:
    """q-values: the false-discovery rate at which each test would be accepted."""
    from scipy.stats import false_discovery_control  # 60 MB, which scanning heads does without

    return false_discovery_control(p, method="bh") if len(p) else p


def shuffled_within_tasks(
    index: Int[np.ndarray, " rows"], task: np.ndarray, rng: np.random.Generator
) -> Int[np.ndarray, " rows"]:
    """The indices with the elements of each task shuffled, all spellings of one together."""
    out = index.copy()
    for name in np.unique(task):
        rows = task == name
        distinct, element = np.unique(index[rows], return_inverse=True)
        out[rows] = rng.permutation(distinct)[element]
    return out


def shuffled_indices(
    index: Int[np.ndarray, " rows"], band: int, count: int, seed: int
) -> Int[np.ndarray, "count rows"]:
    """Permutations of the indices within bands of numbers, all spellings of one moving together.

    A band keeps a number near its size, so that a feature of magnitude is no evidence for a
    residue. Each permutation stays within the indices given, so it can be drawn over held-out ones.

    Args:
        index: of each row; rows with the same index are spellings of one number.
        band: width in numbers.
    """
    distinct, member = np.unique(index, return_inverse=True)
    keys = np.random.default_rng(seed).random((count, len(distinct)))
    order = np.lexsort((keys, np.broadcast_to(distinct // band, keys.shape)), axis=-1)
    return distinct[order][:, member]
