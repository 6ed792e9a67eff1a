"""Gated: Rajamanoharan et al., *Improving Dictionary Learning with Gated SAEs* (2024).

Which latents are on and how strong they are is read apart: with `read = (x - b_dec) W_enc` and
`pi = read + b_gate`, `f = [pi > 0] * relu(exp(r_mag) * read + b_mag)`. Loss: the squared error, an
L1 penalty on `relu(pi)`, and the squared error of `relu(pi)` decoded by a frozen decoder (their
equation 8).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from sae.architecture import Architecture, Gradients, Products
from sae.autoencoder import SAE


@dataclass(frozen=True, kw_only=True)
class GatedSAE(SAE):
    """SAELens's `gated`."""

    b_gate: Float[Tensor, " d_sae"]
    r_mag: Float[Tensor, " d_sae"]
    b_mag: Float[Tensor, " d_sae"]

    def encode(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        read = (x - self.b_dec) @ self.W_enc
        return torch.relu(read * self.r_mag.exp() + self.b_mag) * (read + self.b_gate > 0)


@dataclass(frozen=True)
class Gated(Architecture):
    """A gate and a magnitude for each latent, from one encoder."""

    name = "gated"
    latents = {"b_gate": 0.0, "r_mag": 0.0, "b_mag": 0.0}  # noqa: RUF012
    l1: float = 0.75

    def gradients(
        self, pre: Tensor, latents: Mapping[str, Tensor], products: Products, share: float
    ) -> Gradients:
        read = pre - products.latent(latents["b_gate"])
        gain = products.latent(latents["r_mag"]).exp()
        f = (gain * read + products.latent(latents["b_mag"])).relu() * (pre > 0)
        error = products.error(f)
        d_magnitude = products.back(error) * (f > 0)
        gate = pre.relu()
        gate_error = products.error(gate)
        penalised = products.back(gate_error) + share * self.l1 * products.weight
        d_gate = penalised * (pre > 0)
        return Gradients(
            square=products.square(error),
            penalty=self.l1 * products.mean(gate) + products.square(gate_error),
            codes=f,
            error=error,
            d_pre=d_gate + d_magnitude * gain,
            latents={
                "b_gate": products.per_latent(d_gate),
                "r_mag": products.per_latent(d_magnitude * gain * read),
                "b_mag": products.per_latent(d_magnitude),
            },
        )

    def finished(self, weights, latents, scale, pre) -> SAE:
        return GatedSAE(
            **weights,
            b_gate=latents["b_gate"] / scale,
            r_mag=latents["r_mag"].clone(),
            b_mag=latents["b_mag"] / scale,
        )
