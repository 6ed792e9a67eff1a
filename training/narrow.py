"""The products of one step in bfloat16, for codes too dense to be worth listing.

Sums are taken in float32, what goes in and comes out is rounded to eight bits. Above about one
latent in seven, that is faster than float32 on the active pairs.
"""

import torch
from torch import Tensor

from sae.architecture import Gradients
from training import kernels
from training.pairs import OneProducts, Step

DENSE = 1 / 7
"""Share of selected pairs above which these products are the faster ones."""


def narrow(a: Tensor, b: Tensor) -> Tensor:
    """`a @ b` through bfloat16."""
    return (a.to(torch.bfloat16) @ b.to(torch.bfloat16)).to(a.dtype)


class NarrowProducts(OneProducts):
    """`Products` of codes `[rows, latents]`."""

    def __init__(self, centred: Tensor, W_dec: Tensor, selected: Tensor) -> None:
        super().__init__(centred, W_dec)
        self.selected = selected
        self._narrow_W_dec = W_dec.to(torch.bfloat16)

    def latent(self, values: Tensor) -> Tensor:
        return values

    def per_latent(self, codes: Tensor) -> Tensor:
        return codes.sum(0)

    def error(self, codes: Tensor) -> Tensor:
        return narrow(codes, self._narrow_W_dec).sub_(self.centred)

    def back(self, error: Tensor) -> Tensor:
        return narrow(error, self._narrow_W_dec.T).mul_(2 * self.weight)

    def mark(self, codes: Tensor, fired: Tensor) -> float:
        """Mark the latents that are active in some row; returns how many a row has."""
        fired.copy_(codes.amax(0) > 0)
        return int((codes > 0).sum()) * self.weight

    def update(self, found: Gradients, W_enc: Step, W_dec: Step) -> None:
        """Step on both matrices."""
        d_enc = narrow(found.d_pre.T, self.centred)
        d_dec = narrow(found.codes.T, found.error).mul_(2 * self.weight)
        kernels.update_from(d_enc.numpy(), *W_enc.arguments())
        kernels.update_from(d_dec.numpy(), *W_dec.arguments())
