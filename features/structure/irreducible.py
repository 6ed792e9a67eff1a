"""Is a two-dimensional feature irreducible? (Engels et al. 2024, arXiv 2405.14860, section 2)

A feature reduces if it is two independent features side by side (*separable*) or if each point
lies on one of two lower-dimensional features (*a mixture*). It is irreducible if its separability
index is large and its mixture index small. Both indices are biased with few points, so each is
reported beside the same index of clouds that do reduce.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

BINS = 10
"""Of the histogram along each axis, as in Engels et al."""
EPSILON = 0.1
"""Half width of the mixture's slab, in root mean squares of the projection: theirs too."""
ANGLES = np.arange(90) * np.pi / 180
"""Rotations tried: beyond a quarter turn the two axes only change places."""
OFFSETS = 101
"""Places of the slab that are tried along each of the directions."""


class Irreducibility(NamedTuple):
    """The two indices of one cloud of points, each with its control."""

    separability: float
    """S(f): the least mutual information between the two coordinates over rotations, in bits."""
    separability_null_95: float
    """95th percentile of S when the coordinates at the best rotation are paired at random: what
    two independent features of the same spread reach with as many points."""
    p_value: float
    """Of the coordinates being independent at some rotation."""
    mixture: float
    """M_eps(f): the largest share of points that one line's slab holds."""
    mixture_gaussian: float
    """The same of Gaussian clouds of as many points, on average: no mixture. 0.08 with many."""
    n: int


def irreducibility(
    points: Float[np.ndarray, "points 2"], *, permutations: int = 200, seed: int = 0
) -> Irreducibility:
    """Both indices of a cloud, with their controls."""
    rng = np.random.default_rng(seed)
    information = [_mutual_information(points @ _rotation(angle)) for angle in ANGLES]
    separability = min(information)
    aligned = points @ _rotation(ANGLES[int(np.argmin(information))])
    null = [
        separability_index(np.stack([aligned[:, 0], rng.permutation(aligned[:, 1])], 1))
        for _ in range(permutations)
    ]
    gaussian = [mixture_index(rng.standard_normal(points.shape)) for _ in range(20)]
    return Irreducibility(
        separability,
        float(np.percentile(null, 95)),
        (1 + int((np.array(null) >= separability).sum())) / (1 + permutations),
        mixture_index(points),
        float(np.mean(gaussian)),
        len(points),
    )


def separability_index(points: Float[np.ndarray, "points 2"]) -> float:
    """S(f) = min over rotations of the mutual information of the two coordinates, in bits."""
    return min(_mutual_information(points @ _rotation(angle)) for angle in ANGLES)


def mixture_index(points: Float[np.ndarray, "points 2"]) -> float:
    """M_eps(f) = max over v, c of P(|v.f + c| < eps sqrt(E[(v.f + c)^2])).

    Searched on a grid of directions and offsets. Engels et al. climb the gradient of a softened
    share; the grid has no local optima, and a perfect circle reaches .21 on it, at its rim.
    """
    best = 0.0
    for angle in np.concatenate([ANGLES, ANGLES + np.pi / 2]):
        projection = points @ _rotation(angle)[:, 0]
        offsets = -np.linspace(projection.min(), projection.max(), OFFSETS)[:, None]
        moved = projection + offsets
        inside = np.abs(moved) < EPSILON * np.sqrt((moved**2).mean(1, keepdims=True))
        best = max(best, float(inside.mean(1).max()))
    return best


def _mutual_information(points: Float[np.ndarray, "points 2"]) -> float:
    low, high = points.min(0), points.max(0)
    cell = np.clip(((points - low) / (high - low) * BINS).astype(int), 0, BINS - 1)
    joint = np.bincount(cell @ [BINS, 1], minlength=BINS**2).reshape(BINS, BINS) / len(points)
    product = joint.sum(1, keepdims=True) * joint.sum(0)
    held = joint > 0
    return float((joint[held] * np.log2(joint[held] / product[held])).sum())


def _rotation(angle: float) -> Float[np.ndarray, "2 2"]:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin], [sin, cos]])
