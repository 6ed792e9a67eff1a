"""Parts of a dictionary that keep their random start while the rest is trained.

The random baselines of Korznikov et al., *Sanity Checks for Sparse Autoencoders: Do SAEs Beat
Random Baselines?* (2026, arXiv 2602.14111, figure 1): a frozen decoder, a softly frozen one whose
directions stay within a cosine of 0.8 of their start, a frozen encoder.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize

from training.parameters import Parameters

LEAST_COSINE = 0.8
"""Of a softly frozen decoder direction with its start."""


def keeper(frozen: str | None, parameters: Parameters) -> Callable[[], None]:
    """What to call after every change of the parameters, to put back what is frozen.

    Args:
        frozen: `decoder`, `soft decoder`, `encoder` or nothing; biases are always trained.
        parameters: at their start. They are changed in place.
    """
    if frozen is None:
        return lambda: None
    weights = parameters.W_enc if frozen == "encoder" else parameters.W_dec
    start = weights.clone()

    def keep() -> None:
        if frozen == "soft decoder":
            weights.copy_(within_cone(weights, start, LEAST_COSINE))
        else:
            weights.copy_(start)

    return keep


def within_cone(
    rows: Float[Tensor, "... latents d_in"], axes: Float[Tensor, "... latents d_in"], least: float
) -> Float[Tensor, "... latents d_in"]:
    """Rows that have strayed from their axis, turned back until the cosine is the least allowed.

    Args:
        axes: of norm one.

    Returns:
        The rows, their norms as they were; those within the cone unchanged.
    """
    norm = rows.norm(dim=-1, keepdim=True)
    along = (rows * axes).sum(-1, keepdim=True)
    across = normalize(rows - along * axes, dim=-1)
    turned = norm * (least * axes + (1 - least**2) ** 0.5 * across)
    return torch.where(along < least * norm, turned, rows)
