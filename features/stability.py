"""Does the same feature come back under another seed?"""

import torch
from jaxtyping import Float
from torch import Tensor

from sae.ensemble import SAEEnsemble


def best_cosines(ensemble: SAEEnsemble) -> Float[Tensor, "members latents"]:
    """Each decoder direction's best cosine in every other member, averaged over those members.

    The mean over latents is the mean max cosine similarity (MMCS, Sharkey et al. 2022). NaN in an
    ensemble of one.
    """
    directions = [torch.nn.functional.normalize(m.W_dec, dim=1) for m in ensemble.members]
    rows = []
    for own, mine in enumerate(directions):
        best = [(mine @ other.T).amax(1) for i, other in enumerate(directions) if i != own]
        rows.append(torch.stack(best).mean(0) if best else torch.full((len(mine),), torch.nan))
    return torch.stack(rows)
