"""The products of one step on the selected pairs of a row and a latent alone."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from sae.architecture import Gradients
from training import kernels


@dataclass(frozen=True)
class Step:
    """The optimiser's step on one matrix, as the kernels take it."""

    matrix: Float[Tensor, "d_sae d_in"]
    moments: np.ndarray
    """`[levels, 2, size]`, of all parameters."""
    first: int
    """Where the matrix begins among them."""
    rates: tuple
    shrink: Float[Tensor, " d_sae"]
    """Multiple of its own row that is in each row's gradient."""
    unit: bool
    """Keep its rows at norm one."""

    def arguments(self) -> tuple:
        """What an updating kernel takes after the gradient."""
        matrix, shrink = self.matrix.numpy(), self.shrink.numpy()
        return matrix, self.moments, self.first, self.rates, shrink, self.unit


class OneProducts:
    """What `Products` of one SAE have in common: every row weighs the same."""

    def __init__(self, centred: Tensor, W_dec: Tensor) -> None:
        self.weight = 1 / len(centred)
        self.centred, self._W_dec = centred, W_dec

    def mean(self, codes: Tensor) -> Tensor:
        return codes.sum() * self.weight

    def square(self, error: Tensor) -> Tensor:
        flat = error.view(-1)
        return torch.dot(flat, flat) * self.weight

    def norms(self) -> Tensor:
        return self._W_dec.norm(dim=1)


class PairProducts(OneProducts):
    """The selected pairs of one pass, and `Products` of codes `[pairs]`."""

    selected = True

    def __init__(self, centred: Tensor, W_dec: Tensor, space: "Space", count: int) -> None:
        super().__init__(centred, W_dec)
        self._space = space
        self.rows, self.width = centred.shape
        self.starts = space.starts[: self.rows + 1]
        self.latents = space.latents[:count]
        self._index = torch.from_numpy(self.latents)

    def latent(self, values: Tensor) -> Tensor:
        return values[self._index]

    def per_latent(self, codes: Tensor) -> Tensor:
        out = codes.new_empty(len(self._W_dec))
        kernels.sum_by_latent(self.latents, codes.numpy(), out.numpy())
        return out

    def error(self, codes: Tensor) -> Tensor:
        out = codes.new_empty(self.rows, self.width)
        kernels.decode(
            self.starts,
            self.latents,
            codes.numpy(),
            self._W_dec.numpy(),
            self.centred.numpy(),
            out.numpy(),
        )
        return out

    def back(self, error: Tensor) -> Tensor:
        out = error.new_empty(len(self.latents))
        kernels.back(self.starts, self.latents, self._W_dec.numpy(), error.numpy(), out.numpy())
        return out.mul_(2 * self.weight)

    def mark(self, codes: Tensor, fired: Tensor) -> float:
        """Mark the latents that are active in some row; returns how many a row has."""
        return kernels.mark(self.latents, codes.numpy(), fired.numpy()) * self.weight

    def update(self, found: Gradients, W_enc: Step, W_dec: Step) -> None:
        """Step on both matrices, a latent at a time, with its gradient still in the cache."""
        space, count = self._space, len(self.latents)
        rows, order = space.rows[:count], space.order[:count]
        kernels.by_latent(self.starts, self.latents, space.latent_starts, rows, order)
        place = torch.from_numpy(order)
        for step, codes, table in (
            (W_enc, found.d_pre, self.centred),
            (W_dec, found.codes * (2 * self.weight), found.error),
        ):
            gradient = (space.latent_starts, rows, codes[place].numpy(), table.numpy())
            kernels.update_from_pairs(*gradient, *step.arguments())


class Space:
    """Room for the pairs of one pass, kept from step to step."""

    def __init__(self, rows: int, d_sae: int, dtype: np.dtype) -> None:
        # `select` writes each candidate before it knows whether to keep it.
        self.latents = np.empty(rows * d_sae + 1, np.int32)
        self.values = np.empty(rows * d_sae + 1, dtype)
        self.starts = np.empty(rows + 1, np.int32)
        self.no_floor = np.full(rows, -np.inf, dtype)
        self.latent_starts = np.empty(d_sae + 1, np.int32)
        self.rows = np.empty(rows * d_sae, np.int32)
        self.order = np.empty(rows * d_sae, np.int32)
