"""JumpReLU: Rajamanoharan et al., *Jumping Ahead* (2024).

`f = pre * H(pre - threshold)`, loss `mean_t |r_t|^2 + l0 * sum_j H(pre_tj - threshold_j)`. The step
H has no gradient; that of the threshold is estimated with a rectangle kernel (their equations 11
and 12), and the threshold is trained through its logarithm.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sae.architecture import Architecture, Gradients, Products
from sae.autoencoder import SAE

BANDWIDTH = 0.1
"""Width of the kernel, in units of inputs with one unit of variance a dimension."""
THRESHOLD = 0.1
"""Where thresholds start, in the same units."""


@dataclass(frozen=True, kw_only=True)
class JumpReLUSAE(SAE):
    """SAELens's `jumprelu`."""

    b_enc: Float[Tensor, " d_sae"]
    threshold: Float[Tensor, " d_sae"]

    def encode(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        pre = (x - self.b_dec) @ self.W_enc + self.b_enc
        return pre.relu() * (pre > self.threshold)


@dataclass(frozen=True)
class JumpReLU(Architecture):
    """A threshold for each latent."""

    name = "jumprelu"
    latents = {"b_enc": 0.0, "log_threshold": float(torch.tensor(THRESHOLD).log())}  # noqa: RUF012
    l0: float = 1.0

    def floors(self, pre: Tensor, latents: Mapping[str, Tensor]) -> tuple[Tensor, Tensor | None]:
        return latents["log_threshold"].exp() - BANDWIDTH / 2, None

    def gradients(
        self, pre: Tensor, latents: Mapping[str, Tensor], products: Products, share: float
    ) -> Gradients:
        threshold = products.latent(latents["log_threshold"]).exp()
        on = pre > threshold
        f = pre * on
        error = products.error(f)
        d_f = products.back(error)
        d_pre = d_f * on
        near = (pre - threshold).abs() < BANDWIDTH / 2
        d_threshold = -(threshold * d_f + share * self.l0 * products.weight) / BANDWIDTH * near
        return Gradients(
            square=products.square(error),
            penalty=self.l0 * products.mean(on.to(pre.dtype)),
            codes=f,
            error=error,
            d_pre=d_pre,
            latents={
                "b_enc": products.per_latent(d_pre),
                "log_threshold": products.per_latent(d_threshold * threshold),
            },
        )

    def finished(self, weights, latents, scale, pre) -> SAE:
        return JumpReLUSAE(
            **weights,
            b_enc=latents["b_enc"] / scale,
            threshold=latents["log_threshold"].exp() / scale,
        )
