"""ReLU with an L1 penalty: Bricken et al., *Towards Monosemanticity* (2023).

`f = relu((x - b_dec) W_enc + b_enc)`, loss `mean_t |x_t - f_t W_dec - b_dec|^2 + l1 sum_j f_tj`,
decoder rows of norm one. It is the SAE of *Successor Heads* (section 3.1).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sae.architecture import Architecture, Gradients, Products
from sae.autoencoder import SAE


@dataclass(frozen=True, kw_only=True)
class ReLUSAE(SAE):
    """SAELens's `standard`."""

    b_enc: Float[Tensor, " d_sae"]

    def encode(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        return torch.relu((x - self.b_dec) @ self.W_enc + self.b_enc)


@dataclass(frozen=True)
class ReLU(Architecture):
    """The paper's."""

    name = "relu"
    latents = {"b_enc": 0.0}  # noqa: RUF012
    l1: float = 0.75

    def gradients(
        self, pre: Tensor, latents: Mapping[str, Tensor], products: Products, share: float
    ) -> Gradients:
        f = pre.relu()
        error = products.error(f)
        d_pre = (products.back(error) + share * self.l1 * products.weight) * (f > 0)
        return Gradients(
            square=products.square(error),
            penalty=self.l1 * products.mean(f),
            codes=f,
            error=error,
            d_pre=d_pre,
            latents={"b_enc": products.per_latent(d_pre)},
        )

    def finished(self, weights, latents, scale, pre) -> ReLUSAE:
        return ReLUSAE(**weights, b_enc=latents["b_enc"] / scale)


@dataclass(frozen=True)
class WeightedReLU(ReLU):
    """SAELens's: decoder rows of any norm, the penalty weighted by it (Conerly et al. 2024).

    Loss `mean_t |r_t|^2 + l1 sum_j f_tj |W_dec_j|`; norms are folded into the encoder at the end.
    """

    name = "relu-weighted"
    unit_decoder = False

    def gradients(
        self, pre: Tensor, latents: Mapping[str, Tensor], products: Products, share: float
    ) -> Gradients:
        f = pre.relu()
        error = products.error(f)
        norms = products.norms()
        weighed = products.latent(norms) * products.weight
        d_pre = (products.back(error) + share * self.l1 * weighed) * (f > 0)
        return Gradients(
            square=products.square(error),
            penalty=self.l1 * products.mean(f * products.latent(norms)),
            codes=f,
            error=error,
            d_pre=d_pre,
            latents={"b_enc": products.per_latent(d_pre)},
            shrink=share * self.l1 * products.per_latent(f * products.weight) / norms,
        )

    def finished(self, weights, latents, scale, pre) -> ReLUSAE:
        norm = weights["W_dec"].norm(dim=1)
        return ReLUSAE(
            W_enc=weights["W_enc"] * norm,
            W_dec=weights["W_dec"] / norm[:, None],
            b_dec=weights["b_dec"],
            b_enc=latents["b_enc"] * norm / scale,
        )
