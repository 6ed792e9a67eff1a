"""The sparse engine: one SAE on one CPU core.

Of a step's five products only the encoder's is dense; the others need the few active latents of
each row. Each latent's gradient is handed to the optimiser while it is still in the cache.
"""

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae.architecture import Architecture, Gradients
from training import kernels
from training.engine import Seen
from training.inputs import Inputs
from training.optimiser import BETAS, EPSILON, corrections, descend
from training.parameters import Parameters

LOOK = 512
"""Rows that are looked at together, where memory does not have to hold more for a step."""


class _Pairs:
    """The selected pairs of one pass, and `Products` of codes `[pairs]`."""

    selected = True

    def __init__(self, centred: Tensor, W_dec: Tensor, space: "_Space", count: int) -> None:
        self.weight = 1 / len(centred)
        self._W_dec, self._space = W_dec, space
        self.rows, self.width = centred.shape
        self.starts = space.starts[: self.rows + 1]
        self.latents = space.latents[:count]
        self._index = torch.from_numpy(self.latents)
        self._centred = centred.numpy()

    def latent(self, values: Tensor) -> Tensor:
        return values[self._index]

    def per_latent(self, codes: Tensor) -> Tensor:
        out = codes.new_empty(len(self._W_dec))
        kernels.sum_by_latent(self.latents, codes.numpy(), out.numpy())
        return out

    def mean(self, codes: Tensor) -> Tensor:
        return codes.sum() * self.weight

    def error(self, codes: Tensor) -> Tensor:
        out = codes.new_empty(self.rows, self.width)
        kernels.decode(
            self.starts,
            self.latents,
            codes.numpy(),
            self._W_dec.numpy(),
            self._centred,
            out.numpy(),
        )
        return out

    def square(self, error: Tensor) -> Tensor:
        flat = error.view(-1)
        return torch.dot(flat, flat) * self.weight

    def back(self, error: Tensor) -> Tensor:
        out = error.new_empty(len(self.latents))
        kernels.back(self.starts, self.latents, self._W_dec.numpy(), error.numpy(), out.numpy())
        return out.mul_(2 * self.weight)

    def norms(self) -> Tensor:
        return self._W_dec.norm(dim=1)

    def by_latent(self) -> tuple[np.ndarray, np.ndarray, Tensor]:
        """Starts and rows of the pairs of each latent, and their places in the list by row."""
        space, count = self._space, len(self.latents)
        rows, order = space.rows[:count], space.order[:count]
        kernels.by_latent(self.starts, self.latents, space.latent_starts, rows, order)
        return space.latent_starts, rows, torch.from_numpy(order)


class _Space:
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


class SparseEngine:
    """A stack of one."""

    def __init__(
        self,
        architecture: Architecture,
        parameters: Parameters,
        inputs: Inputs,
        levels: int,
        *,
        rows: int,
        encode: torch.dtype | None = None,
    ) -> None:
        """
        Args:
            levels: normalisations of the optimiser.
            rows: most rows in a step.
            encode: of the encoder's product, where it differs from the parameters'.
        """
        self.architecture, self.parameters, self._inputs = architecture, parameters, inputs
        flat = parameters.flat
        self.moments = flat.new_zeros(levels, 2, *flat.shape)
        self._encode = encode or flat.dtype
        self._at_once = max(rows, min(LOOK, len(inputs.fit)))
        self._type = flat.numpy().dtype.type
        self._space = _Space(self._at_once, parameters.d_sae, flat.numpy().dtype)
        self._W_enc, self._W_dec, self._b_dec = (
            x[0] for x in (parameters.W_enc, parameters.W_dec, parameters.b_dec)
        )
        self._latents = {name: value[0] for name, value in parameters.latents.items()}
        self._matrix = parameters.d_in * parameters.d_sae

    def _pre(self, centred: Tensor) -> Tensor:
        bias = next(iter(self._latents.values()))
        if self._encode == centred.dtype:
            return torch.addmm(bias, centred, self._W_enc.T)
        narrow = torch.mm(centred.to(self._encode), self._W_enc.to(self._encode).T)
        return narrow.to(centred.dtype).add_(bias)

    def _forward(self, x: Tensor, share: float) -> tuple[Gradients, Seen, _Pairs, Tensor]:
        centred = x - self._b_dec
        pre = self._pre(centred)
        latent_floor, row_floor = self.architecture.floors(pre, self._latents)
        space = self._space
        count = kernels.select(
            pre.numpy(),
            latent_floor.numpy(),
            space.no_floor[: len(x)] if row_floor is None else row_floor.contiguous().numpy(),
            space.starts,
            space.latents,
            space.values,
        )
        pairs = _Pairs(centred, self._W_dec, space, count)
        values = torch.from_numpy(space.values[:count])
        found = self.architecture.gradients(values, self._latents, pairs, share)
        fired = torch.zeros(1, len(self._W_dec), dtype=torch.bool)
        active = kernels.mark(pairs.latents, found.codes.numpy(), fired[0].numpy())
        l0 = torch.tensor([active * pairs.weight])
        return found, Seen(found.square.view(1), found.penalty.view(1), l0, fired), pairs, centred

    def step(
        self, batch: Int[Tensor, "members rows"] | None, share: float, rate: float, step: int
    ) -> Seen:
        x = self._inputs.fit if batch is None else self._inputs.fit.index_select(0, batch[0])
        found, seen, pairs, centred = self._forward(x, share)
        d_pre_sum = pairs.per_latent(found.d_pre)
        d_b_dec = found.error.sum(0).mul_(2 * pairs.weight).sub_(d_pre_sum @ self._W_enc)
        latent_starts, rows, order = pairs.by_latent()
        moments = self.moments[:, :, 0].numpy()
        rates = tuple(map(self._type, (rate, *BETAS, *corrections(step), EPSILON)))
        shrink = torch.zeros_like(d_pre_sum) if found.shrink is None else found.shrink
        kernels.update_encoder(
            latent_starts,
            rows,
            found.d_pre[order].numpy(),
            centred.numpy(),
            self._W_enc.numpy(),
            moments,
            0,
            rates,
        )
        kernels.update_decoder(
            latent_starts,
            rows,
            found.codes[order].mul_(2 * pairs.weight).numpy(),
            found.error.numpy(),
            self._W_dec.numpy(),
            moments,
            self._matrix,
            rates,
            shrink.numpy(),
            self.architecture.unit_decoder,
        )
        p = self.parameters
        vectors = torch.cat([d_b_dec, *found.latents.values()]).view(1, -1)
        descend(p.vectors, vectors, self.moments[:, :, :, 2 * self._matrix :], rate, step)
        return seen

    def look(self, rows: str) -> Seen:
        x = getattr(self._inputs, rows)
        seen = [self._forward(part, 1.0)[1] for part in x.split(self._at_once)]
        shares = [len(part) / len(x) for part in x.split(self._at_once)]

        def average(name: str) -> Tensor:
            return sum(s * getattr(one, name) for s, one in zip(shares, seen, strict=True))  # pyright: ignore

        fired = torch.stack([one.fired for one in seen]).any(0)
        return Seen(average("square"), average("penalty"), average("l0"), fired)

    def errors(self) -> list[Float[Tensor, "rows d_in"]]:
        parts = self._inputs.fit.split(self._at_once)
        return [torch.cat([self._forward(part, 1.0)[0].error for part in parts])]

    def pre_activations(self, member: int) -> Float[Tensor, "rows d_sae"]:
        bias = next(iter(self._latents.values()))
        return torch.addmm(bias, self._inputs.fit - self._b_dec, self._W_enc.T)
