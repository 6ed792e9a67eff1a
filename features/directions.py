"""Sets of residue directions, from the SAEs and from the witnesses that need no SAE.

Everything in `eval/` that patches takes a `ResidueDirections`, so that class means and a linear
probe go through every edit that SAE features go through.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from features.activity import Activity
from features.residues import fit_residues
from lm.errors import OrdinalError
from lm.ordinals import FOLDS
from sae.ensemble import SAEEnsemble
from training.activations import Activations


@dataclass(frozen=True)
class ResidueDirections:
    """One direction for each residue modulo m, none of them fitted on the numbers held out."""

    source: str
    """`SAE`, `class means` or `probe`."""
    member: int
    """Member of the ensemble, or fold, that they come from."""
    vectors: Float[Tensor, "modulus d_model"]
    """Unit norm."""
    held_out: Bool[Tensor, " tokens"]
    """Rows of the tokens that played no part in fitting or choosing the directions."""
    latents: tuple[int, ...] = ()
    """The SAE's latents behind them."""

    @property
    def modulus(self) -> int:
        return len(self.vectors)


def check_directions(sets: Sequence[ResidueDirections], activations: Activations) -> None:
    """Refuse directions that cannot be patched into these activations, or tested on any of them.

    Raises:
        OrdinalError: names the first set that is of another width or of other tokens, or that
            holds out no number.
    """
    if not sets:
        raise OrdinalError("There are no directions to patch: `ordinal features RUN` finds them.")
    numbers = _number_rows(activations)
    for one in sets:
        width, n_tokens = one.vectors.shape[1], len(one.held_out)
        which = f"The {one.source} directions of member {one.member}"
        if width != activations.x.shape[1]:
            raise OrdinalError(
                f"{which} are {width} wide, and M(t) "
                f"{activations.x.shape[1]}: they are another model's."
            )
        if n_tokens != len(numbers):
            raise OrdinalError(
                f"{which} are about {n_tokens:,} tokens, "
                f"and there are {len(numbers):,} here: they were fitted on other activations."
            )
        if not (one.held_out.numpy() & numbers).any():
            raise OrdinalError(
                f"{which} hold out no number, so nothing can be tested: fit them on a part of the "
                "numbers."
            )


def _number_rows(activations: Activations) -> np.ndarray:
    return (activations.tokens.table["task"] == "numbers").to_numpy()


def sae_directions(
    ensemble: SAEEnsemble, activity: list[Activity], activations: Activations, modulus: int
) -> list[ResidueDirections]:
    """Each member's best latent for each residue, by F1 on the numbers that it was fitted on."""
    numbers = _number_rows(activations)
    out = []
    for member, acts in zip(ensemble.members, activity, strict=True):
        rows = numbers & ~acts.held_out.numpy()
        fit = fit_residues(acts.active.numpy()[rows], activations.tokens.table[rows], modulus)
        best = fit.f1.argmax(0)
        vectors = torch.nn.functional.normalize(member.W_dec[torch.as_tensor(best)], dim=1)
        out.append(
            ResidueDirections("SAE", acts.member, vectors, acts.held_out, tuple(best.tolist()))
        )
    return out


def class_mean_directions(activations: Activations, modulus: int) -> list[ResidueDirections]:
    """Mean of M(t) over the numbers of each residue, less the numbers' mean; one set per fold."""
    return _witnesses(activations, modulus, "class means", _class_means)


def probe_directions(activations: Activations, modulus: int) -> list[ResidueDirections]:
    """Rows of a ridge-regression probe of n mod m on M(t) (section 3.2); one set per fold."""
    return _witnesses(activations, modulus, "probe", ridge_probe)


def tens_directions(activations: Activations, modulus: int) -> list[ResidueDirections]:
    """Features of another kind in the residues' place: class means of the tens digit.

    There are ten of them; of a modulus above ten the rest begins again at the first.
    """
    found = _witnesses(activations, 10, "tens digits", _class_means, divided_by=10)
    again = torch.arange(modulus) % 10
    return [replace(one, vectors=one.vectors[again]) for one in found]


def random_directions(
    activations: Activations, modulus: int, latents: int, *, seed: int = 0
) -> list[ResidueDirections]:
    """For each residue the best of as many random directions as an SAE has latents.

    Random directions have M's covariance over the fitted numbers; the best one sets the residue
    apart most, in standard deviations of the numbers along it.
    """
    generator = torch.Generator().manual_seed(seed)

    def fit(
        x: Float[Tensor, "numbers d_model"], one_hot: Float[np.ndarray, "numbers modulus"]
    ) -> Float[Tensor, "modulus d_model"]:
        noise = torch.randn(latents, len(x), generator=generator)
        pool = torch.nn.functional.normalize(noise @ (x - x.mean(0)), dim=1)
        apart = _class_means(x, one_hot) @ pool.T / (x @ pool.T).std(0)
        return pool[apart.argmax(1)]

    return _witnesses(activations, modulus, "random dictionary", fit)


def _witnesses(activations, modulus, source, fit, divided_by=1) -> list[ResidueDirections]:
    table = activations.tokens.table
    numbers = _number_rows(activations)
    out = []
    for fold in range(FOLDS):
        held_out = activations.held_out(fold)
        rows = numbers & ~held_out
        residue = table.loc[rows, "index"].to_numpy() // divided_by % modulus
        vectors = fit(activations.x[torch.as_tensor(rows)], np.eye(modulus)[residue])
        out.append(
            ResidueDirections(
                source,
                fold,
                torch.nn.functional.normalize(vectors, dim=1),
                torch.as_tensor(held_out),
            )
        )
    return out


def _class_means(
    x: Float[Tensor, "numbers d_model"], one_hot: Float[np.ndarray, "numbers modulus"]
) -> Float[Tensor, "modulus d_model"]:
    member = torch.as_tensor(one_hot, dtype=x.dtype)
    return (member.T @ x) / member.sum(0)[:, None] - x.mean(0)


def ridge_probe(
    x: Float[Tensor, "numbers d_model"], one_hot: Float[np.ndarray, "numbers classes"]
) -> Float[Tensor, "classes d_model"]:
    """Ridge regression of each class's indicator on M(t), both about their means; not normed."""
    centred = x - x.mean(0)
    gram = centred.T @ centred
    penalty = 1e-2 * gram.trace() / len(gram)
    target = torch.as_tensor(one_hot - one_hot.mean(0), dtype=x.dtype)
    return torch.linalg.solve(gram + penalty * torch.eye(len(gram)), centred.T @ target).T
