"""The dense engine: one step for all members at once, for a GPU.

One SAE step on a GPU is bound by memory traffic and launches; in a stack, every product is one
`bmm` over the members. Members whose folds have different sizes are filled up with rows of weight
zero, and narrower subspaces with zero coordinates, which stay zero.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import pad

from sae.architecture import EMPTY, Architecture
from training.engine import Seen
from training.inputs import Inputs
from training.optimiser import descend
from training.parameters import Parameters


class DenseProducts:
    """`Products` of codes `[members, rows, latents]`."""

    def __init__(self, centred: Tensor, W_dec: Tensor, weight: Tensor, selected: Tensor) -> None:
        self.centred, self.W_dec = centred, W_dec
        self.weight, self.selected = weight, selected

    def latent(self, values: Tensor) -> Tensor:
        return values.unsqueeze(-2)

    def per_latent(self, codes: Tensor) -> Tensor:
        return codes.sum(-2)

    def mean(self, codes: Tensor) -> Tensor:
        return (codes * self.weight).sum((-1, -2))

    def error(self, codes: Tensor) -> Tensor:
        return codes @ self.W_dec - self.centred

    def square(self, error: Tensor) -> Tensor:
        return (error.square() * self.weight).sum((-1, -2))

    def back(self, error: Tensor) -> Tensor:
        return (2 * self.weight * error) @ self.W_dec.mT

    def norms(self) -> Tensor:
        return self.W_dec.norm(dim=-1)


class StackedEngine:
    """Many SAEs of one architecture, on one device."""

    def __init__(
        self,
        architecture: Architecture,
        parameters: Parameters,
        inputs: Sequence[Inputs],
        levels: int,
    ) -> None:
        """
        Args:
            parameters: on the device that is to be used, the stack's widest subspace wide.
            inputs: of each member.
            levels: normalisations of the optimiser.
        """
        self.architecture, self.parameters = architecture, parameters
        flat = parameters.flat
        self.moments = flat.new_zeros(levels, 2, *flat.shape)
        self._inputs = inputs
        # Members of one fold share its rows.
        folds = list({id(fold): fold for fold in inputs}.values())
        place = {id(fold): i for i, fold in enumerate(folds)}
        self._fold = torch.tensor([place[id(fold)] for fold in inputs], device=flat.device)
        self._rows = {name: self._stack(folds, name) for name in ("fit", "test", "stop")}

    def _stack(self, folds: Sequence[Inputs], name: str) -> tuple[Tensor, Tensor]:
        """Rows `[folds, most rows, d_in]`, and whether each is one, `[folds, most rows]`."""
        sets = [getattr(fold, name) for fold in folds]
        most = max(len(x) for x in sets)
        width = self.parameters.d_in
        filled = [pad(x, (0, width - x.shape[1], 0, most - len(x))) for x in sets]
        real = [torch.arange(most) < len(x) for x in sets]
        flat = self.parameters.flat
        return torch.stack(filled).to(flat), torch.stack(real).to(flat.device)

    def _forward(self, x: Tensor, real: Tensor, share: float):
        """Gradients of all members on rows `[members, rows, d_in]`."""
        p = self.parameters
        weight = real.to(x.dtype).unsqueeze(-1)
        weight = weight / weight.sum(1, keepdim=True).clamp(min=1)
        centred = x - p.b_dec.unsqueeze(1)
        bias = next(iter(p.latents.values())).unsqueeze(1)
        pre = torch.baddbmm(bias, centred, p.W_enc.mT)
        pre = pre.masked_fill(~real.unsqueeze(-1), EMPTY)
        latent_floor, row_floor = self.architecture.floors(pre, p.latents)
        selected = pre > (latent_floor.unsqueeze(-2) if latent_floor.ndim > 1 else latent_floor)
        if row_floor is not None:
            selected &= pre > row_floor.unsqueeze(-1)
        products = DenseProducts(centred, p.W_dec, weight, selected)
        found = self.architecture.gradients(pre, p.latents, products, share)
        active = found.codes > 0
        l0 = (active * weight).sum((-1, -2))
        return found, Seen(found.square, found.penalty, l0, active.any(1)), centred, weight

    def step(
        self, batch: Int[Tensor, "members rows"] | None, share: float, rate: float, step: int
    ) -> Seen:
        x, real = (stacked[self._fold] for stacked in self._rows["fit"])
        if batch is not None:
            batch = batch.to(x.device)
            x = x.gather(1, batch.unsqueeze(-1).expand(-1, -1, x.shape[-1]))
            real = torch.ones_like(batch, dtype=torch.bool)
        found, seen, centred, weight = self._forward(x, real, share)
        p = self.parameters
        gradients = p.like(torch.empty_like(p.flat))
        d_error = 2 * weight * found.error
        torch.bmm(found.d_pre.mT, centred, out=gradients.W_enc)
        torch.bmm(found.codes.mT, d_error, out=gradients.W_dec)
        read = found.d_pre.sum(1).unsqueeze(1) @ p.W_enc
        gradients.b_dec.copy_(d_error.sum(1) - read.squeeze(1))
        for name, value in found.latents.items():
            gradients.latents[name].copy_(value)
        if found.shrink is not None:
            gradients.W_dec.add_(found.shrink.unsqueeze(-1) * p.W_dec)
        if self.architecture.unit_decoder:
            along = (gradients.W_dec * p.W_dec).sum(-1, keepdim=True)
            gradients.W_dec.sub_(along * p.W_dec)
        descend(p.flat, gradients.flat, self.moments, rate, step)
        if self.architecture.unit_decoder:
            p.W_dec.div_(p.W_dec.norm(dim=-1, keepdim=True))
        return seen

    def look(self, rows: str) -> Seen:
        x, real = (stacked[self._fold] for stacked in self._rows[rows])
        return self._forward(x, real, 1.0)[1]

    def errors(self) -> list[Float[Tensor, "rows d_in"]]:
        x, real = (stacked[self._fold] for stacked in self._rows["fit"])
        found = self._forward(x, real, 1.0)[0]
        return [
            error[: len(fold.fit)] for error, fold in zip(found.error, self._inputs, strict=True)
        ]

    def pre_activations(self, member: int) -> Float[Tensor, "rows d_sae"]:
        p, fold = self.parameters, self._inputs[member]
        x = pad(fold.fit, (0, p.d_in - fold.d_in)).to(p.flat)
        bias = next(iter(p.latents.values()))[member]
        return torch.addmm(bias, x - p.b_dec[member], p.W_enc[member].T)
