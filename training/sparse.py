"""The sparse engine: one SAE on one CPU core.

Of a step's five products only the encoder's is dense; the others need the few active latents of
each row.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from sae.architecture import Architecture, Gradients
from training import kernels
from training.engine import Seen
from training.inputs import Inputs
from training.narrow import DENSE, NarrowProducts, narrow
from training.optimiser import BETAS, EPSILON, corrections, descend
from training.pairs import PairProducts, Space, Step
from training.parameters import Parameters

LOOK = 512
"""Rows that are looked at together, where memory does not have to hold more for a step."""


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
        bfloat16: bool = False,
    ) -> None:
        """
        Args:
            levels: normalisations of the optimiser.
            rows: most rows in a step.
            bfloat16: of the dense products of a step; what is looked at is read in float32.
        """
        self.architecture, self.parameters, self._inputs = architecture, parameters, inputs
        flat = parameters.flat
        self.moments = flat.new_zeros(levels, 2, *flat.shape)
        self._bfloat16 = bfloat16
        self._at_once = max(rows, min(LOOK, len(inputs.fit)))
        self._type = flat.numpy().dtype.type
        self._space = Space(self._at_once, parameters.d_sae, flat.numpy().dtype)
        self._W_enc, self._W_dec, self._b_dec = (
            x[0] for x in (parameters.W_enc, parameters.W_dec, parameters.b_dec)
        )
        self._latents = {name: value[0] for name, value in parameters.latents.items()}
        self._matrix = parameters.d_in * parameters.d_sae

    def _pre(self, centred: Tensor, exact: bool) -> Tensor:
        bias = next(iter(self._latents.values()))
        if exact:
            return torch.addmm(bias, centred, self._W_enc.T)
        return narrow(centred, self._W_enc.T).add_(bias)

    def _forward(
        self, x: Tensor, share: float, exact: bool
    ) -> tuple[Gradients, Seen, PairProducts | NarrowProducts]:
        centred = x - self._b_dec
        pre = self._pre(centred, exact)
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
        if exact or count <= DENSE * pre.numel():
            products = PairProducts(centred, self._W_dec, space, count)
            codes = torch.from_numpy(space.values[:count])
        else:
            selected = pre > latent_floor
            if row_floor is not None:
                selected &= pre > row_floor.unsqueeze(-1)
            products, codes = NarrowProducts(centred, self._W_dec, selected), pre
        found = self.architecture.gradients(codes, self._latents, products, share)
        fired = torch.zeros(1, len(self._W_dec), dtype=torch.bool)
        l0 = torch.tensor([products.mark(found.codes, fired[0])])
        return found, Seen(found.square.view(1), found.penalty.view(1), l0, fired), products

    def step(
        self, batch: Int[Tensor, "members rows"] | None, share: float, rate: float, step: int
    ) -> Seen:
        x = self._inputs.fit if batch is None else self._inputs.fit.index_select(0, batch[0])
        found, seen, products = self._forward(x, share, not self._bfloat16)
        p = self.parameters
        d_pre_sum = products.per_latent(found.d_pre)
        d_b_dec = found.error.sum(0).mul_(2 * products.weight).sub_(d_pre_sum @ self._W_enc)
        moments = self.moments[:, :, 0].numpy()
        rates = tuple(map(self._type, (rate, *BETAS, *corrections(step), EPSILON)))
        none, unit = torch.zeros_like(d_pre_sum), self.architecture.unit_decoder
        shrink = none if found.shrink is None else found.shrink
        products.update(
            found,
            Step(self._W_enc, moments, 0, rates, none, unit=False),
            Step(self._W_dec, moments, self._matrix, rates, shrink, unit),
        )
        vectors = torch.cat([d_b_dec, *found.latents.values()]).view(1, -1)
        descend(p.vectors, vectors, self.moments[:, :, :, 2 * self._matrix :], rate, step)
        return seen

    def look(self, rows: str) -> Seen:
        x = getattr(self._inputs, rows)
        seen = [self._forward(part, 1.0, True)[1] for part in x.split(self._at_once)]
        shares = [len(part) / len(x) for part in x.split(self._at_once)]

        def average(name: str) -> Tensor:
            return sum(s * getattr(one, name) for s, one in zip(shares, seen, strict=True))  # pyright: ignore

        fired = torch.stack([one.fired for one in seen]).any(0)
        return Seen(average("square"), average("penalty"), average("l0"), fired)

    def errors(self) -> list[Float[Tensor, "rows d_in"]]:
        parts = self._inputs.fit.split(self._at_once)
        return [torch.cat([self._forward(part, 1.0, True)[0].error for part in parts])]

    def pre_activations(self, member: int) -> Float[Tensor, "rows d_sae"]:
        bias = next(iter(self._latents.values()))
        return torch.addmm(bias, self._inputs.fit - self._b_dec, self._W_enc.T)
