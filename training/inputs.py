"""A fold's tokens as the engines take them: centred, scaled, and in their own subspace."""

from dataclasses import dataclass, fields
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import safe_open
from torch import Tensor

from lm.files import write_safetensors

WEISZFELD_STEPS = 100


@dataclass(frozen=True)
class Inputs:
    """The tokens of one fold, `(x - origin) * scale @ basis.T`.

    The scale makes the mean squared norm about the mean d_model, so that penalties and learning
    rates mean the same on any model. n tokens span no more than n dimensions: with fewer tokens
    than d_model the basis is a complete one of their span, and the cost of training no longer
    grows with d_model.
    """

    fit: Float[Tensor, "rows d_in"]
    test: Float[Tensor, "test_rows d_in"]
    stop: Float[Tensor, "stop_rows d_in"]
    """Held out for early stopping."""
    outside: Float[Tensor, "2"]
    """Squared norm of `test` and of `stop` that lies outside the subspace."""
    variance: Float[Tensor, "3"]
    """Sum of squared distances of `fit`, `test` and `stop` from the mean of `fit`."""
    origin: Float[Tensor, " d_model"]
    """The geometric median of the fitted rows, where `b_dec` starts."""
    scale: Float[Tensor, ""]
    basis: Float[Tensor, "d_in d_model"] | None = None
    """Orthonormal rows; None for the model's own coordinates."""

    @classmethod
    def prepare(
        cls,
        fit: Float[Tensor, "rows d_model"],
        test: Float[Tensor, "test_rows d_model"],
        stop: Float[Tensor, "stop_rows d_model"] | None = None,
        *,
        subspace: bool = True,
    ) -> "Inputs":
        """Everything is worked out on the fitted rows alone."""
        stop = fit[:0] if stop is None else stop
        origin, mean = geometric_median(fit), fit.mean(0)
        sets = (fit, test, stop)
        distances = torch.stack([(x - mean).square().sum() for x in sets])
        per_row = distances[0] / max(1, len(fit))
        scale = (fit.shape[1] / per_row).sqrt() if per_row > 0 else torch.ones_like(per_row)
        centred = [(x - origin) * scale for x in sets]
        basis = None
        if subspace and len(fit) < fit.shape[1]:
            basis = span(centred[0])
            inside = [x @ basis.T for x in centred]
            outside = [
                (a.square().sum() - b.square().sum()).clamp(min=0)
                for a, b in zip(centred[1:], inside[1:], strict=True)
            ]
            centred = inside
        else:
            outside = [scale.new_zeros(())] * 2
        return cls(
            *(x.contiguous() for x in centred),
            outside=torch.stack(outside),
            variance=distances * scale.square(),
            origin=origin,
            scale=scale,
            basis=basis,
        )

    @property
    def d_in(self) -> int:
        return self.fit.shape[1]

    def lift(self, rows: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_model"]:
        """Directions of the subspace as directions of the model's space."""
        return rows[..., : self.d_in] @ self.basis if self.basis is not None else rows

    def save(self, path: Path) -> None:
        """Write a file that several processes can map."""
        named = {field.name: getattr(self, field.name) for field in fields(self)}
        write_safetensors({name: x for name, x in named.items() if x is not None}, path)

    @classmethod
    def load(cls, path: Path) -> "Inputs":
        """Map a file that `save` wrote: processes that load it share its memory."""
        with safe_open(path, "pt") as file:
            return cls(**{name: file.get_tensor(name) for name in file.keys()})  # noqa: SIM118


def geometric_median(x: Float[Tensor, "rows d_model"]) -> Float[Tensor, " d_model"]:
    """The point of least summed distance to the rows, by Weiszfeld's iteration."""
    median = x.mean(0)
    for _ in range(WEISZFELD_STEPS):
        distance = (x - median).norm(dim=1)
        near = distance <= 1e-9 * distance.max()
        if near.any():  # a row is the median, or all rows are one
            return median
        weights = 1 / distance
        moved = weights @ x / weights.sum()
        if (moved - median).norm() <= 1e-6 * distance.mean():
            return moved
        median = moved
    return median


def span(x: Float[Tensor, "rows d_model"]) -> Float[Tensor, "rows d_model"]:
    """An orthonormal basis of the rows' span, turned at random.

    Adam scales each coordinate by itself, so the basis matters to it. In the model's own basis a
    token is spread over all coordinates; turned at random, it is in this one too.
    """
    generator = torch.Generator().manual_seed(0)
    turn = torch.randn(len(x), len(x), generator=generator, dtype=torch.float64)
    basis = torch.linalg.qr(x.double().T).Q.T
    return (torch.linalg.qr(turn).Q @ basis).to(x.dtype).contiguous()
