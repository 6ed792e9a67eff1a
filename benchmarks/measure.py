"""What the trainers of the benchmark share: data, settings, clock, judge and floor.

Everything here is the same for each of them, so that only the trainers differ.
"""

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

DIRECTIONS = 200
"""Planted features of the data."""
POINTS = 20
"""Points on each curve of the objective against CPU seconds."""


@dataclass(frozen=True)
class Settings:
    """One fit. Shares are of the steps, as in the trainer of this project."""

    l1: float
    """Weight of the penalty in the common objective (see `evaluate`), at the end of its warm-up."""
    d_in: int = 768
    latents: int = 512
    rows: int = 1200
    held_out: int = 0
    """Further rows, which no trainer sees."""
    batch: int = 256
    steps: int = 3000
    learning_rate: float = 3e-3
    warm_up: float = 0.05
    decay: float = 0.2
    l1_warm_up: float = 0.05
    l1_start: float = 0.0
    """Multiple of the penalty before its warm-up."""
    encoder_norm: float = 1.0
    """Of each row of the encoder at the start; both libraries have their own, 0.1."""
    seed: int = 0
    data_seed: int = 0

    def share(self, part: float) -> int:
        """That share of the steps, at least one."""
        return max(1, round(part * self.steps))

    def tiny(self) -> "Settings":
        """The same for a few steps: what is compiled or imported late is so before the clock."""
        return replace(self, steps=20)


def halved(settings: Settings) -> Settings:
    """Half of the steps, at a learning rate that suits so few."""
    return replace(settings, steps=max(1, settings.steps // 2), learning_rate=4e-3)


def continued(settings: Settings) -> Settings:
    """Half of the steps, the first half of them coming down from three times the penalty.

    Encoders start at the norm of both libraries. The libraries' own penalties can only rise.
    """
    return replace(halved(settings), l1_start=3.0, l1_warm_up=0.5, encoder_norm=0.1)


class Fitted(NamedTuple):
    """A finished SAE in SAELens's layout: `f = relu((x - b_dec) W_enc + b_enc)`."""

    W_enc: Float[Tensor, "d_in d_sae"]
    b_enc: Float[Tensor, " d_sae"]
    W_dec: Float[Tensor, "d_sae d_in"]
    b_dec: Float[Tensor, " d_in"]


class Quality(NamedTuple):
    """How good a dictionary is, on some rows."""

    loss: float
    """The common objective at the full penalty."""
    l0: float
    """Mean number of active latents of a row."""
    fvu: float
    """Fraction of the variance about the mean that is left unexplained."""


@torch.no_grad()
def evaluate(x: Float[Tensor, "rows d_in"], sae: Fitted, l1: float) -> Quality:
    """`mean_t |x_t - xhat_t|^2 + l1 * mean_t sum_j f_tj |W_dec_j|`, with L0 and FVU.

    The norms make it blind to a rescaling of a latent against its decoder row: dictionaries with
    and without the constraint of unit norm are judged alike.
    """
    f = torch.relu((x - sae.b_dec) @ sae.W_enc + sae.b_enc)
    square = (x - f @ sae.W_dec - sae.b_dec).square().sum(1).mean()
    penalty = (f @ sae.W_dec.norm(dim=1)).mean()
    variance = (x - x.mean(0)).square().sum(1).mean()
    l0 = (f > 0).sum(1).float().mean()
    return Quality(float(square + l1 * penalty), float(l0), float(square / variance))


def activations(
    settings: Settings,
) -> tuple[Float[Tensor, "rows d_in"], Float[Tensor, "held_out d_in"]]:
    """Sparse non-negative sums of unit directions, Zipf-like, with an offset and a little noise.

    About 13 directions are active in a row. The mean squared norm about the mean is `d_in`, the
    scale on which this project trains. The data have a seed of their own: members of an ensemble
    differ in their start alone.
    """
    generator = torch.Generator().manual_seed(settings.data_seed)
    rows = settings.rows + settings.held_out

    def directions(count: int) -> Tensor:
        rows = torch.randn(count, settings.d_in, generator=generator)
        return rows / rows.norm(dim=1, keepdim=True)

    frequency = (3 / torch.arange(1, DIRECTIONS + 1)).clamp(max=0.5)
    uniform = torch.rand(2, rows, DIRECTIONS, generator=generator)
    strength = (uniform[0] < frequency) * (0.5 + uniform[1])
    x = strength @ directions(DIRECTIONS) + 2 * directions(1) + directions(rows)
    fit = x[: settings.rows]
    variance = (fit - fit.mean(0)).square().sum(1).mean()
    x = x * (settings.d_in / variance).sqrt()
    return x[: settings.rows], x[settings.rows :]


def batches(
    x: Float[Tensor, "rows d_in"], settings: Settings
) -> Iterator[Float[Tensor, "batch d_in"]]:
    """Batches without end: whole shuffled passes, rows that fill no batch left out of each."""
    generator = torch.Generator().manual_seed(settings.seed)
    while True:
        shuffled = x[torch.randperm(len(x), generator=generator)]
        for start in range(0, len(x) - settings.batch + 1, settings.batch):
            yield shuffled[start : start + settings.batch]


class Seconds(NamedTuple):
    """What has been spent: CPU by all threads and finished child processes, and wall."""

    cpu: float
    wall: float

    @classmethod
    def now(cls) -> "Seconds":
        times = os.times()
        children = times.children_user + times.children_system
        return cls(time.process_time() + children, time.perf_counter())

    def since(self, start: "Seconds") -> "Seconds":
        return Seconds(self.cpu - start.cpu, self.wall - start.wall)


class Clock:
    """Times a fit and records its curve; it stands still while the curve is evaluated."""

    def __init__(self, x: Float[Tensor, "rows d_in"], settings: Settings) -> None:
        self.x, self.l1 = x, settings.l1
        self.due = {round(settings.steps * point / POINTS) for point in range(1, POINTS)}
        self.curve: list[tuple[float, float]] = []
        self.start = Seconds.now()

    def spent(self) -> Seconds:
        return Seconds.now().since(self.start)

    def told(self, loss: float) -> None:
        """A point of the curve that the trainer has worked out itself, on its own time."""
        self.curve.append((self.spent().cpu, loss))

    def record(self, step: int, snapshot: Callable[[], Fitted]) -> None:
        """To be called after each step; cheap where no point of the curve is due."""
        if step not in self.due:
            return
        spent = self.spent()
        self.curve.append((spent.cpu, evaluate(self.x, snapshot(), self.l1).loss))
        now = Seconds.now()
        self.start = Seconds(now.cpu - spent.cpu, now.wall - spent.wall)


def fast_bfloat16() -> bool:
    """Whether this processor multiplies in bfloat16 itself; elsewhere that is slow."""
    features = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, name, bool)() for name in features)


def floor(settings: Settings, steps: int = 60, rounds: int = 3) -> float:
    """CPU seconds of the fit's dense matrix products and Adam alone, the best of some rounds.

    Five products: encode, decode, the error back through the decoder, and the gradients of both
    weights. A trainer falls below this floor only by not doing them in full.
    """
    b, d, m = settings.batch, settings.d_in, settings.latents
    x, f, W_enc, W_dec = torch.randn(b, d), torch.rand(b, m), torch.randn(d, m), torch.randn(m, d)
    rows, codes, g_enc, g_dec = (torch.empty_like(like) for like in (x, f, W_enc, W_dec))
    flat = torch.nn.Parameter(torch.randn(2 * d * m + d + m))
    flat.grad = torch.randn_like(flat)
    adam = torch.optim.Adam([flat], lr=1e-6, fused=True)
    best = float("inf")
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(steps):
            torch.mm(x, W_enc, out=codes)
            torch.mm(f, W_dec, out=rows)
            torch.mm(x, W_dec.T, out=codes)
            torch.mm(f.T, x, out=g_dec)
            torch.mm(x.T, f, out=g_enc)
            adam.step()
        best = min(best, time.process_time() - start)
    return best / steps * settings.steps
