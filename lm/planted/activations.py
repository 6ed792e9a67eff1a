"""M(t) as a sum of planted directions, and what the head's readout makes of it.

For a token t with index n (the number 137; the 3rd month), every direction of one length:

    M(t) = residue[n mod 10] + tens[n // 10 mod 10] + domain[task] + size ordinal + form + noise

where `size` is n as a share of its task, from 0 to 1, and words below ten have no tens. Forms are a
direction for the leading space and one for the capital of words. They let the head tell spellings
apart, are orthogonal to everything, and count neither in the overlap nor among the features that a
method is asked to recover (29 at ten residues).

Every token has one residue and one domain, so what is common to a family may as well be in the
decoder's bias: a method can recover directions about their family's mean, and a domain as common
as numbers as the one that the bias holds.
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from lm.ordinals import OrdinalTokens
from lm.planted.code import counts
from lm.planted.truth import FORMS, PlantedDials, PlantedTruth
from lm.planted.vocabulary import Vocabulary, vocabulary

LAYER, HEAD = 1, 2
SCALE = 3.0


@dataclass(frozen=True)
class Planted:
    """Everything that a checkpoint is made of."""

    truth: PlantedTruth
    m: Float[Tensor, "vocabulary d_model"]
    code: Float[Tensor, "directions d_model"]
    """The planted directions as rows."""
    followed: Float[Tensor, "vocabulary directions"]
    """How much of each direction speaks for a token to be the next."""
    spare: Float[Tensor, "spare d_model"]
    """Orthonormal rows that neither the planted directions nor the constant direction enter."""
    vocabulary: Vocabulary


def planted_activations(
    dials: PlantedDials | None = None, *, seed: int = 0, shuffled: bool = False
) -> tuple[OrdinalTokens, Float[Tensor, "tokens d_model"], PlantedTruth]:
    """The tokens of a planted model and their M, without writing a checkpoint.

    Args:
        dials: the default's are easy; `REFERENCE` is hard.
        seed: of all directions and of the noise, as in `plant`.
        shuffled: the negative twin, as in `plant`.

    Example:
        >>> tokens, m, truth = planted_activations(REFERENCE, seed=1)
        >>> activations = Activations(m, tokens)
    """
    generator = torch.Generator().manual_seed(seed)
    planted = plan(dials or PlantedDials(), generator, shuffled)
    tokens = planted.vocabulary.tokens
    return tokens, planted.m[torch.tensor(tokens.table["token_id"].to_numpy())], planted.truth


def plan(dials: PlantedDials, generator: torch.Generator, shuffled: bool) -> Planted:
    """Draw the directions, and spell out M and the readout token by token."""
    everything = vocabulary(dials.numbers)
    n_forms = len(FORMS)
    # Row 0 is the constant direction, which LayerNorm takes off: everything else avoids it.
    basis = torch.randn(dials.d_model, dials.d_model, generator=generator)
    basis[:, 0] = 1
    axes = torch.linalg.qr(basis).Q.T[1:]
    features = _mixed(len(dials.names) - n_forms, dials.overlap, generator)
    used = len(dials.names)
    code = torch.cat([features @ axes[: used - n_forms], axes[used - n_forms : used]])
    in_m, followed = counts(dials, everything, generator, shuffled)
    clean = SCALE * in_m @ code
    noise = torch.randn(clean.shape, generator=generator)
    noise -= noise.mean(1, keepdim=True)
    rows = list(everything.places)
    share = dials.noise / (1 - dials.noise)
    noise *= (share * _variance(clean[rows]) / _variance(noise[rows])).sqrt()
    m = clean + noise
    cosines = features @ features.T
    truth = PlantedTruth(
        directions={name: row.clone() for name, row in zip(dials.names, code, strict=True)},
        residue_scale=SCALE,
        overlap=_mean_overlap(cosines).item(),
        rank=int(torch.linalg.matrix_rank(features)),
        noise=(_variance(noise[rows]) / _variance(m[rows])).item(),
        dials=dials,
        seed=generator.initial_seed(),
        shuffled=shuffled,
        layer=LAYER,
        head=HEAD,
    )
    return Planted(truth, m, code, followed, axes[used:], everything)


def _mixed(n: int, overlap: float, generator: torch.Generator) -> Float[Tensor, "n n"]:
    """Unit rows with the mean absolute cosine `overlap`.

    The identity as Gram matrix, mixed with that of random directions, has their cosines scaled
    down. Where even random ones overlap too little, they are drawn in fewer dimensions.
    """
    draws = torch.randn(n, n, generator=generator)
    found = [_mean_overlap(_cosines(draws[:, :k])).item() for k in range(1, n + 1)]
    if found[-1] < overlap:
        k = 1 + min(range(n), key=lambda i: abs(found[i] - overlap))
        return F.pad(F.normalize(draws[:, :k]), (0, n - k))
    share = overlap / found[-1]
    return torch.linalg.cholesky(torch.lerp(torch.eye(n), _cosines(draws), share))


def _cosines(x: Float[Tensor, "n k"]) -> Float[Tensor, "n n"]:
    return F.normalize(x) @ F.normalize(x).T


def _mean_overlap(cosines: Float[Tensor, "n n"]) -> Float[Tensor, ""]:
    apart = ~torch.eye(len(cosines), dtype=torch.bool)
    return cosines[apart].abs().mean()


def _variance(x: Float[Tensor, "rows d_model"]) -> Float[Tensor, ""]:
    return x.var(0).sum()
