"""The products of one step in bfloat16, for codes too dense to be worth listing.

Sums are taken in float32, what goes in and comes out is rounded to eight bits. Above about one
latent in seven, that is faster than float32 on the active pairs.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from sae.architecture import Gradients
from training import kernels
from training.pairs import Step

DENSE = 1 / 7
"""Share of selected pairs above which these products are the faster ones."""


def narrow(a: Tensor, b: Tensor) -> Tensor:
    """`a @ b` through bfloat16."""
    return (a.to(torch.bfloat16) @ b.to(torch.bfloat16)).to(a.dtype)


class NarrowProducts:
    """`Products` of codes `[rows, latents]`."""

    def __init__(self, centred: Tensor, W_dec: Tensor, selected: Tensor) -> None:
        self.weight = 1 / len(centred)
        self.centred, self._W_dec, self.selected = centred, W_dec, selected
        self._narrow_W_dec = W_dec.to(torch.bfloat16)

    def latent(self, values: Tensor) -> Tensor:
        return values

    def per_latent(self, codes: Tensor) -> Tensor:
        return codes.sum(0)

    def mean(self, codes: Tensor) -> Tensor:
        return codes.sum() * self.weight

    def error(self, codes: Tensor) -> Tensor:
        return narrow(codes, self._narrow_W_dec).sub_(self.centred)

    def square(self, error: Tensor) -> Tensor:
        return torch.dot(error.view(-1), error.view(-1)) * self.weight

    def back(self, error: Tensor) -> Tensor:
        return narrow(error, self._narrow_W_dec.T).mul_(2 * self.weight)

    def norms(self) -> Tensor:
        return self._W_dec.norm(dim=1)

    def mark(self, codes: Tensor, fired: Tensor) -> float:
        """Mark the latents that are active in some row; returns how many a row has."""
        fired.copy_(codes.amax(0) > 0)
        return int((codes > 0).sum()) * self.weight

    def update(
        self, found: Gradients, W_enc: Step, W_dec: Step, shrink: Float[Tensor, " d_sae"]
    ) -> None:
        """Step on both matrices."""
        d_enc = narrow(found.d_pre.T, self.centred)
        d_dec = narrow(found.codes.T, found.error).mul_(2 * self.weight)
        for step, gradient, multiple in (
            (W_enc, d_enc, torch.zeros_like(shrink)),
            (W_dec, d_dec, shrink),
        ):
            kernels.update_from(
                gradient.numpy(),
                step.matrix.numpy(),
                step.moments,
                step.first,
                step.rates,
                multiple.numpy(),
                step.unit,
            )
