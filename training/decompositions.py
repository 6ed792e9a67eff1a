"""Dictionaries that need no gradient: random directions, PCA, ICA and k-means.

Each gives an encoder and a decoder with a latent a row, for inputs about their mean. The decoder's
rows have norm one. A component of PCA or ICA counts both ways, as two latents: its sign means
nothing, and a latent's activity is never negative.
"""

import warnings
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize


class Dictionary(NamedTuple):
    """What reads each latent, and what it stands for."""

    encoder: Float[Tensor, "latents d_model"]
    decoder: Float[Tensor, "latents d_model"]


def random_directions(x: Float[Tensor, "tokens d_model"], latents: int, seed: int) -> Dictionary:
    """Where an SAE of this seed starts in the model's own coordinates."""
    generator = torch.Generator().manual_seed(seed)
    directions = normalize(torch.randn(latents, x.shape[1], generator=generator), dim=1)
    return Dictionary(directions, directions)


def principal_components(x: Float[Tensor, "tokens d_model"], latents: int, seed: int) -> Dictionary:
    """The leading principal components, both ways: all there are, if that is fewer."""
    from sklearn.decomposition import PCA

    fitted = PCA(_components(x, latents), svd_solver="full").fit(x.numpy())
    directions = torch.from_numpy(fitted.components_)
    return _both_ways(directions, directions)


def independent_components(
    x: Float[Tensor, "tokens d_model"], latents: int, seed: int
) -> Dictionary:
    """FastICA in the leading principal components, both ways."""
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    ica = FastICA(_components(x, latents), whiten="unit-variance", random_state=seed)
    with warnings.catch_warnings():  # where sources are Gaussian it turns for ever
        warnings.simplefilter("ignore", ConvergenceWarning)
        ica.fit(x.numpy())
    reads = torch.from_numpy(ica.components_)
    sources = torch.from_numpy(np.transpose(ica.mixing_))
    norm = sources.norm(dim=1, keepdim=True)
    return _both_ways(norm * reads, sources / norm)


def cluster_directions(x: Float[Tensor, "tokens d_model"], latents: int, seed: int) -> Dictionary:
    """From the mean to the centre of each k-means cluster; no more than there are tokens."""
    from sklearn.cluster import KMeans

    fitted = KMeans(min(latents, len(x)), random_state=seed).fit(x.numpy())
    directions = normalize(torch.from_numpy(fitted.cluster_centers_), dim=1)
    return Dictionary(directions, directions)


def _components(x: Tensor, latents: int) -> int:
    return min(latents // 2, int(torch.linalg.matrix_rank(x)))


def _both_ways(encoder: Tensor, decoder: Tensor) -> Dictionary:
    return Dictionary(torch.cat([encoder, -encoder]), torch.cat([decoder, -decoder]))
