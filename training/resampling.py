"""Dead latents started again: Bricken et al., *Towards Monosemanticity* (2023), appendix.

A latent that was active on no token since the last time gets a token drawn by its squared loss: its
decoder row becomes that token's direction, its encoder row the same at a fifth of the mean norm
of the living, its other parameters and its moments what they were at the start.
"""

from collections.abc import Sequence

import torch
from jaxtyping import Bool
from torch import Tensor
from torch.nn.functional import normalize, pad

from sae.architecture import Architecture
from training.config import TrainConfig
from training.engine import Engine
from training.inputs import Inputs

ENCODER_SHARE = 0.2


def resampling_steps(config: TrainConfig) -> set[int]:
    """Spread evenly over the steps before the learning rate falls."""
    until = config.steps * (1 - config.decay)
    return {round(until * i / (config.resamples + 1)) for i in range(1, config.resamples + 1)}


def resample(
    engine: Engine,
    architecture: Architecture,
    inputs: Sequence[Inputs],
    seeds: Sequence[int],
    fired: Bool[Tensor, "members d_sae"],
    step: int,
) -> None:
    """Start the latents that have not fired again, in place."""
    p = engine.parameters
    moments = [p.like(moment) for level in engine.moments for moment in level]
    for i, (error, fold, seed) in enumerate(zip(engine.errors(), inputs, seeds, strict=True)):
        dead = (~fired[i]).nonzero().squeeze(1).to(p.flat.device)
        loss = error.square().sum(1).cpu()
        if not len(dead) or not loss.sum() > 0:
            continue
        generator = torch.Generator().manual_seed((seed << 32) + step)
        drawn = torch.multinomial(loss.square(), len(dead), True, generator=generator)
        rows = pad(fold.fit[drawn], (0, p.d_in - fold.d_in)).to(p.flat) - p.b_dec[i]
        directions = normalize(rows, dim=1)
        alive = fired[i].to(p.flat.device)
        norm = p.W_enc[i, alive].norm(dim=1).mean() if alive.any() else 1.0
        p.W_dec[i, dead] = directions
        p.W_enc[i, dead] = ENCODER_SHARE * norm * directions
        for name, initial in architecture.latents.items():
            p.latents[name][i, dead] = initial
        for moment in moments:
            for matrix in (moment.W_enc, moment.W_dec, *moment.latents.values()):
                matrix[i, dead] = 0
