"""What every sparse autoencoder has in common, with SAELens's names and conventions."""

from abc import ABC, abstractmethod
from dataclasses import dataclass, fields

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class SAE(ABC):
    """A dictionary of `d_sae` decoder directions and the encoder that reads them.

    `x ~ encode(x) @ W_dec + b_dec`. What is trained here has rows of `W_dec` of norm one.
    """

    W_enc: Float[Tensor, "d_in d_sae"]
    W_dec: Float[Tensor, "d_sae d_in"]
    b_dec: Float[Tensor, " d_in"]

    @property
    def d_in(self) -> int:
        return self.W_dec.shape[1]

    @property
    def d_sae(self) -> int:
        return self.W_dec.shape[0]

    def tensors(self) -> dict[str, Tensor]:
        """The weights by SAELens's names."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: value for name, value in values.items() if isinstance(value, Tensor)}

    @abstractmethod
    def encode(self, x: Float[Tensor, "*batch d_in"]) -> Float[Tensor, "*batch d_sae"]:
        """The activity of each latent, zero or positive."""

    def decode(self, f: Float[Tensor, "*batch d_sae"]) -> Float[Tensor, "*batch d_in"]:
        """The reconstruction from the latents' activity."""
        return f @ self.W_dec + self.b_dec
