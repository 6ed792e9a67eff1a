"""Whether a training fits in memory, asked before it starts rather than when the machine stalls."""

import psutil
import torch

from lm.errors import OrdinalError
from training.config import TrainConfig

BYTES = 4
SPARE = 0.9
"""Share of the free memory that may be used."""


def check_memory(config: TrainConfig, shape: tuple[int, ...], workers: int, device: str) -> None:
    """Estimate the parameters, their gradients and moments, and the pre-activations of a step.

    Args:
        shape: of the activations, `[tokens, d_model]`.
        workers: members that are fitted at the same time on a CPU.

    Raises:
        OrdinalError: that is more than is free.
    """
    tokens, d_model = shape
    d_in = min(tokens, d_model) if config.subspace else d_model
    rows = tokens if config.batch == "full" else min(config.batch, tokens)
    copies = 2 + 2 * config.normalisations
    each = BYTES * (copies * 2 * config.latents * d_in + 6 * rows * config.latents)
    at_once = workers if device == "cpu" else config.members
    # The finished SAEs of all members are kept, in the model's own space.
    needed = at_once * each + config.members * BYTES * 2 * config.latents * d_model
    free = psutil.virtual_memory().available if device == "cpu" else torch.cuda.mem_get_info()[0]
    if needed > SPARE * free:
        raise OrdinalError(
            f"{config.latents} latents for {config.members} members, {at_once} at once, need about "
            f"{needed / 2**30:.1f} GiB; {free / 2**30:.1f} GiB are free. Try fewer `latents`, or "
            "`workers: 1`."
        )
