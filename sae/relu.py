"""The ReLU sparse autoencoder, with SAELens's names and conventions."""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class ReLUSAE:
    """A dictionary of `d_sae` decoder directions and the encoder that reads them.

    `x ~ relu((x - b_dec) @ W_enc + b_enc) @ W_dec + b_dec`, the rows of `W_dec` of norm one.
    """

    W_enc: Float[Tensor, "d_in d_sae"]
    b_enc: Float[Tensor, " d_sae"]
    W_dec: Float[Tensor, "d_sae d_in"]
    b_dec: Float[Tensor, " d_in"]

    @property
    def d_in(self) -> int:
        return self.W_dec.shape[1]

    @property
    def d_sae(self) -> int:
        return self.W_dec.shape[0]

    def encode(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        """The activity of each latent, zero or positive."""
        return torch.relu((x - self.b_dec) @ self.W_enc + self.b_enc)

    def decode(self, f: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_in"]:
        """The reconstruction from the latents' activity."""
        return f @ self.W_dec + self.b_dec
