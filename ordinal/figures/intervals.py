"""Intervals of shares that the tables give without one."""

import numpy as np
from scipy.stats import beta


def clopper_pearson(share: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The exact 95% interval of a share of n independent trials.

    Args:
        share: between 0 and 1.
        n: of elements, not of their spellings, which are not independent.
    """
    share, n = np.asarray(share, float), np.asarray(n, float)
    hits = share * n
    low = np.where(hits > 0, beta.ppf(0.025, hits, np.maximum(n - hits, 0) + 1), 0.0)
    high = np.where(hits < n, beta.ppf(0.975, hits + 1, np.maximum(n - hits, 1e-9)), 1.0)
    return low, high
