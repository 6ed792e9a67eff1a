"""Independent component analysis: FastICA (Hyvärinen & Oja 2000), symmetric, with tanh.

Written out because it is short beside the library that it would bring in (scikit-learn).
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

STEPS = 500
TOLERANCE = 1e-5


class Components(NamedTuple):
    """Sources that are as independent as a linear map of the data can make them."""

    filters: Float[np.ndarray, "components d"]
    """`(x - mean) @ filters.T` are the sources, uncorrelated and of unit variance."""
    mean: Float[np.ndarray, " d"]


def fast_ica(x: Float[np.ndarray, "rows d"], count: int, *, seed: int = 0) -> Components:
    """As many components as asked for, or as the data has dimensions.

    Signs and order are arbitrary. After `STEPS` the components are returned as they are: ICA of
    Gaussian data has no fixed point to find.
    """
    mean = x.mean(0)
    left, size, right = np.linalg.svd(x - mean, full_matrices=False)
    rank = min(count, int((size > 1e-6 * size[0]).sum()))
    scale = np.sqrt(len(x))
    white = left[:, :rank] * scale
    rotation = _orthogonal(np.random.default_rng(seed).standard_normal((rank, rank)))
    for _ in range(STEPS):
        g = np.tanh(white @ rotation.T)
        step = _orthogonal(g.T @ white / len(x) - (1 - g**2).mean(0)[:, None] * rotation)
        moved = 1 - np.abs((step * rotation).sum(1)).min()
        rotation = step
        if moved < TOLERANCE:
            break
    return Components(rotation @ (right[:rank] * (scale / size[:rank, None])), mean)


def _orthogonal(matrix: Float[np.ndarray, "k k"]) -> Float[np.ndarray, "k k"]:
    """The nearest orthogonal matrix: all components are kept apart at once."""
    left, _, right = np.linalg.svd(matrix)
    return left @ right
