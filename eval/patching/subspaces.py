"""Subspaces to remove, and random ones that remove as much variance."""

import torch
from einops import einsum
from jaxtyping import Float
from torch import Tensor

MATCHED_WITHIN = 0.1
"""A random control removes the same variance up to this share of it."""


def span(vectors: Float[Tensor, "k d_model"]) -> Float[Tensor, "d_model rank"]:
    """An orthonormal basis of the span; dependent vectors add nothing."""
    left, size, _ = torch.linalg.svd(vectors.T.double(), full_matrices=False)
    return left[:, size > 1e-5 * size[0]].float()


def remove(
    m: Float[Tensor, "... d_model"],
    basis: Float[Tensor, "d_model rank"],
    mean: Float[Tensor, " d_model"],
) -> Float[Tensor, "... d_model"]:
    """Project the subspace out, to the mean."""
    return m - ((m - mean) @ basis) @ basis.T


def variance_share(
    centred: Float[Tensor, "tokens d_model"], basis: Float[Tensor, "d_model rank"]
) -> float:
    """Share of the variance of M that lies in the subspace."""
    return float(((centred @ basis) ** 2).sum() / (centred**2).sum())


def matched_random_subspaces(
    centred: Float[Tensor, "tokens d_model"],
    rank: int,
    share: float,
    *,
    count: int = 20,
    seed: int = 0,
) -> list[Float[Tensor, "d_model rank"]]:
    """Random subspaces of one rank that hold a given share of the variance, within 10%.

    Gaussian directions are weighted by a power of the principal components' spread; the power is
    found by bisection for each draw (0 is isotropic, large is the leading components). A draw
    that cannot reach the share is left out, so fewer than `count` may come back.
    """
    _, size, principal = torch.linalg.svd(centred.double(), full_matrices=False)
    weight = (size / size[0]).clamp_min(1e-6)
    power = (size**2) / (size**2).sum()
    generator = torch.Generator().manual_seed(seed)
    out = []
    for _ in range(count):
        noise = torch.randn(len(size), rank, generator=generator, dtype=torch.float64)
        low, high = -2.0, 16.0
        for _ in range(40):
            tilt = (low + high) / 2
            basis, _ = torch.linalg.qr(weight[:, None] ** tilt * noise)
            held = float(einsum(power, basis**2, "d, d r ->"))
            low, high = (tilt, high) if held < share else (low, tilt)
        if abs(held - share) <= MATCHED_WITHIN * share:
            out.append((principal.T @ basis).float())
    return out
