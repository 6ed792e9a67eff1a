"""Fitting one ReLU SAE: Bricken et al., Towards Monosemanticity (2023), on the full batch.

The loss is `mean_t |r_t|^2 + l1 * mean_t sum_j f_tj`, with `r` the error of reconstruction and the
decoder's rows of norm one. The gradients are written by hand, which saves a matrix product.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from lm.errors import OrdinalError
from sae.relu import ReLUSAE
from training.config import TrainConfig

REPORTS = 50
"""How often a member is measured, spread evenly over its steps."""
WARM_UP = 0.05
DECAY = 0.2
"""Shares of the steps in which the learning rate rises to its value, and falls to zero."""
L1_WARM_UP = 0.8
"""Share of the steps in which the penalty rises to its value: latents that start out dense find
their features before they have to be sparse."""


class MemberMetrics(NamedTuple):
    """How one member does at one step."""

    member: int
    step: int
    loss: float
    fvu: float
    """Fraction of the variance of the fitted tokens that is left unexplained."""
    fvu_held_out: float | None
    """The same on the held-out tokens, about the mean of the fitted ones."""
    l0: float
    """Mean number of latents active on a fitted token."""
    dead: int
    """Latents active on no fitted token."""


@dataclass(frozen=True)
class MemberTask:
    """What a member is fitted on: all that its result depends on."""

    member: int
    fit: Float[Tensor, "rows d_model"]
    test: Float[Tensor, "test_rows d_model"]
    config: TrainConfig

    @property
    def seed(self) -> int:
        return self.config.seed + self.member


class _Parameters(NamedTuple):
    """Views into one flat tensor, so that Adam is a few calls on all of them."""

    W_enc: Tensor
    b_enc: Tensor
    W_dec: Tensor
    b_dec: Tensor

    @classmethod
    def of(cls, flat: Tensor, d_in: int, d_sae: int) -> "_Parameters":
        W_enc, b_enc, W_dec, b_dec = flat.split([d_in * d_sae, d_sae, d_sae * d_in, d_in])
        return cls(W_enc.view(d_in, d_sae), b_enc, W_dec.view(d_sae, d_in), b_dec)


class _Adam:
    """Adam on one tensor. `torch.optim` imports 800 modules, a second in each process, for this."""

    def __init__(self, parameters: Tensor, betas: tuple[float, float] = (0.9, 0.999)) -> None:
        self.parameters, self.betas, self.steps = parameters, betas, 0
        self.mean = torch.zeros_like(parameters)
        self.square = torch.zeros_like(parameters)

    def step(self, gradients: Tensor, learning_rate: float) -> None:
        self.steps += 1
        beta1, beta2 = self.betas
        self.mean.lerp_(gradients, 1 - beta1)
        self.square.mul_(beta2).addcmul_(gradients, gradients, value=1 - beta2)
        scale = (self.square / (1 - beta2**self.steps)).sqrt_().add_(1e-8)
        rate = learning_rate / (1 - beta1**self.steps)
        self.parameters.addcdiv_(self.mean, scale, value=-rate)


def loss_and_gradients(
    x: Float[Tensor, "rows d_in"],
    sae: _Parameters | ReLUSAE,
    l1: float,
    out: _Parameters,
) -> tuple[Tensor, Float[Tensor, "rows d_sae"]]:
    """The loss and the latents' activity; the gradients are written to `out`."""
    n = len(x)
    centred = x - sae.b_dec
    f = torch.addmm(sae.b_enc, centred, sae.W_enc).relu_()
    error = torch.addmm(centred, f, sae.W_dec, beta=-1)
    loss = (error.square().sum() + l1 * f.sum()) / n
    d_error = error.mul_(2 / n)
    d_pre = torch.mm(d_error, sae.W_dec.T).add_(l1 / n).mul_(f > 0)
    torch.mm(centred.T, d_pre, out=out.W_enc)
    torch.sum(d_pre, 0, out=out.b_enc)
    torch.mm(f.T, d_error, out=out.W_dec)
    torch.sub(d_error.sum(0), sae.W_enc @ out.b_enc, out=out.b_dec)
    return loss, f


def fit_member(task: MemberTask) -> Iterator[MemberMetrics | ReLUSAE]:
    """Fit one member: yields its metrics as it goes, and the SAE last.

    Raises:
        OrdinalError: the loss is no longer a number.
    """
    config = task.config
    mean = task.fit.mean(0)
    d_in, d_sae = task.fit.shape[1], config.latents
    variance = (task.fit - mean).square().sum(1).mean()
    # The penalty and the learning rate then mean the same on any model.
    scale = float((d_in / variance).sqrt()) if variance > 0 else 1.0
    x, x_test = task.fit * scale, task.test * scale

    flat = torch.empty(2 * d_in * d_sae + d_sae + d_in)
    sae = _Parameters.of(flat, d_in, d_sae)
    generator = torch.Generator().manual_seed(task.seed)
    sae.W_dec.normal_(generator=generator)
    sae.W_dec.div_(sae.W_dec.norm(dim=1, keepdim=True))
    sae.W_enc.copy_(sae.W_dec.T)
    sae.b_enc.zero_()
    sae.b_dec.copy_(mean * scale)
    flat_gradients = torch.empty_like(flat)
    gradients = _Parameters.of(flat_gradients, d_in, d_sae)
    adam = _Adam(flat)

    report_every = max(1, config.steps // REPORTS)
    for step in range(1, config.steps + 1):
        l1 = config.l1 * min(1.0, step / (L1_WARM_UP * config.steps))
        loss, f = loss_and_gradients(x, sae, l1, gradients)
        if step % report_every == 0 or step == config.steps:
            if not torch.isfinite(loss):
                raise OrdinalError(
                    f"Member {task.member} (seed {task.seed}) diverged before step {step}: its "
                    "loss is not a number. Try a tenth of the learning rate "
                    f"(learning_rate: {config.learning_rate / 10:g})."
                )
            loss += (config.l1 - l1) * f.sum() / len(x)  # by the full penalty, to be comparable
            yield _measure(task.member, step, float(loss), f, x, x_test, sae)
        along = (gradients.W_dec * sae.W_dec).sum(1, keepdim=True)
        gradients.W_dec.addcmul_(along, sae.W_dec, value=-1)
        adam.step(flat_gradients, config.learning_rate * _schedule(step, config.steps))
        sae.W_dec.div_(sae.W_dec.norm(dim=1, keepdim=True))
    yield ReLUSAE(
        W_enc=sae.W_enc.clone(),
        b_enc=sae.b_enc / scale,
        W_dec=sae.W_dec.clone(),
        b_dec=sae.b_dec / scale,
    )


def _schedule(step: int, steps: int) -> float:
    rise = step / max(1.0, WARM_UP * steps)
    fall = (steps - step) / max(1.0, DECAY * steps)
    return min(1.0, rise, fall)


def _measure(
    member: int, step: int, loss: float, f: Tensor, x: Tensor, x_test: Tensor, sae: _Parameters
) -> MemberMetrics:
    active = f > 0
    mean = x.mean(0)

    def unexplained(rows: Tensor) -> float | None:
        if not len(rows):
            return None
        error = rows - ReLUSAE(*sae).decode(ReLUSAE(*sae).encode(rows))
        variance = (rows - mean).square().sum()
        return float(error.square().sum() / variance) if variance > 0 else 0.0

    fvu = unexplained(x)
    assert fvu is not None
    l0, dead = float(active.sum(1).float().mean()), int((~active.any(0)).sum())
    return MemberMetrics(member, step, loss, fvu, unexplained(x_test), l0, dead)
