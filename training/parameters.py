"""The parameters of a stack of SAEs as views into one flat tensor."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class Parameters:
    """Encoder and decoder both have a latent a row, so that what one latent needs is together.

    The optimiser works on `flat`; everything else reads and writes the views.
    """

    flat: Float[Tensor, "members size"]
    d_in: int
    d_sae: int
    names: Sequence[str]
    """Of the parameters that each latent has one of."""

    @staticmethod
    def size(d_in: int, d_sae: int, names: Sequence[str]) -> int:
        return 2 * d_in * d_sae + d_in + d_sae * len(names)

    @cached_property
    def _parts(self) -> tuple[Tensor, ...]:
        matrix = self.d_in * self.d_sae
        sizes = [matrix, matrix, self.d_in, *[self.d_sae] * len(self.names)]
        return self.flat.split(sizes, dim=1)

    @cached_property
    def W_enc(self) -> Float[Tensor, "members d_sae d_in"]:
        return self._parts[0].view(-1, self.d_sae, self.d_in)

    @cached_property
    def W_dec(self) -> Float[Tensor, "members d_sae d_in"]:
        return self._parts[1].view(-1, self.d_sae, self.d_in)

    @property
    def b_dec(self) -> Float[Tensor, "members d_in"]:
        return self._parts[2]

    @cached_property
    def latents(self) -> Mapping[str, Float[Tensor, "members d_sae"]]:
        return dict(zip(self.names, self._parts[3:], strict=True))

    @property
    def vectors(self) -> Float[Tensor, "members rest"]:
        """All but the matrices."""
        return self.flat[:, 2 * self.d_in * self.d_sae :]

    def like(self, flat: Tensor) -> "Parameters":
        """The same views into another tensor: gradients, or moments."""
        return Parameters(flat, self.d_in, self.d_sae, self.names)
