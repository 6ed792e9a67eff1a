"""When a latent is active: above a tenth of its maximum on the tokens that it was fitted on."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from sae.ensemble import SAEEnsemble
from training.activations import Activations

ACTIVE_ABOVE = 0.1
"""Share of a latent's training maximum above which it counts as active."""


@dataclass(frozen=True)
class Activity:
    """One member's latents over all tokens."""

    member: int
    values: Float[Tensor, "tokens latents"]
    active: Bool[Tensor, "tokens latents"]
    held_out: Bool[Tensor, " tokens"]
    """Tokens whose index this member was not fitted on."""


def latent_activity(ensemble: SAEEnsemble, activations: Activations) -> list[Activity]:
    """Encode the tokens with every member."""
    out = []
    for number, (member, fold) in enumerate(
        zip(ensemble.members, ensemble.held_out_folds, strict=True)
    ):
        values = member.encode(activations.x)
        held_out = torch.tensor(activations.held_out(fold))
        peak = values[torch.tensor(activations.fit_rows(fold))].amax(0)
        active = (values > ACTIVE_ABOVE * peak) & (values > 0)
        out.append(Activity(number, values, active, held_out))
    return out
