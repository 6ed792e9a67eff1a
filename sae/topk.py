"""TopK: Gao et al., *Scaling and evaluating sparse autoencoders* (2024).

`f` keeps the k largest pre-activations of each row, if positive; the loss is the squared error
alone. Their auxiliary loss for dead latents is left to resampling, which serves every architecture.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sae.architecture import Architecture, Gradients, Products
from sae.autoencoder import SAE


@dataclass(frozen=True, kw_only=True)
class TopKSAE(SAE):
    """SAELens's `topk`."""

    b_enc: Float[Tensor, " d_sae"]
    k: int

    def encode(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        pre = (x - self.b_dec) @ self.W_enc + self.b_enc
        values, where = pre.topk(self.k)
        return torch.zeros_like(pre).scatter_(-1, where, values.relu())


@dataclass(frozen=True)
class TopK(Architecture):
    """k latents a row."""

    name = "topk"
    latents = {"b_enc": 0.0}  # noqa: RUF012
    k: int = 8

    def floors(self, pre: Tensor, latents: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        zero, _ = super().floors(pre, latents)
        smallest = pre.topk(min(self.k, pre.shape[-1]), sorted=False).values.amin(-1)
        return zero, just_below(smallest)

    def gradients(
        self, pre: Tensor, latents: Mapping[str, Tensor], products: Products, share: float
    ) -> Gradients:
        f = pre.relu() * products.selected
        error = products.error(f)
        d_pre = products.back(error) * (f > 0)
        square = products.square(error)
        return Gradients(
            square=square,
            penalty=torch.zeros_like(square),
            codes=f,
            error=error,
            d_pre=d_pre,
            latents={"b_enc": products.per_latent(d_pre)},
        )

    def finished(self, weights, latents, scale, pre) -> SAE:
        k = min(self.k, pre.shape[1])
        return TopKSAE(**weights, b_enc=latents["b_enc"] / scale, k=k)


def just_below(values: Tensor) -> Tensor:
    """The next smaller number: what is above it is what was at least `values`."""
    return torch.nextafter(values, torch.full_like(values, -torch.inf))
