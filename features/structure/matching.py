"""Do other seeds learn the same features? Latents matched one to one between members.

Two members' latents are paired so that the sum of the cosines of their decoder directions is the
largest (the Hungarian method): no latent is anyone's match twice, as it may be where each takes its
nearest. The nearest latent's cosine is given too; its mean is the mean max cosine similarity (MMCS,
Sharkey et al. 2022).
"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float, Int
from scipy.optimize import linear_sum_assignment

from features.statistics import bootstrap_means
from sae.ensemble import SAEEnsemble
from training.activations import Activations

BAR = 0.7
"""Max cosine, in the mean over the other members, from which a feature counts as learned again."""
RANDOM_SETS = 20
"""Sets of random directions behind the control."""
FIGURES = ("cosine", "max_cosine", "same_label")


class Match(NamedTuple):
    """Each latent's partner in another dictionary."""

    latent: Int[np.ndarray, " latents"]
    """One to one; -1 where the other dictionary has too few."""
    cosine: Float[np.ndarray, " latents"]
    """With the partner; 0 without one."""
    max_cosine: Float[np.ndarray, " latents"]
    """With the nearest latent, whoever else is near it."""


def match_latents(
    own: Float[np.ndarray, "latents d_model"], other: Float[np.ndarray, "others d_model"]
) -> Match:
    """Pair unit directions so that the sum of their cosines is the largest."""
    cosines = own @ other.T
    rows, columns = linear_sum_assignment(cosines, maximize=True)
    latent, cosine = np.full(len(own), -1), np.zeros(len(own))
    latent[rows], cosine[rows] = columns, cosines[rows, columns]
    return Match(latent, cosine, cosines.max(1))


def matching_table(
    ensemble: SAEEnsemble,
    activations: Activations,
    features: pd.DataFrame,
    latents: Int[np.ndarray, "members modulus"],
    reference: int,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """The residues' latents beside their matches in the other members.

    The control puts unit directions drawn with the tokens' covariance in the place of the reference
    member's residue latents, and matches again. Its interval is over such sets, so that it is what
    the residues together are compared with.

    Args:
        ensemble: of two members or more.
        activations: what the ensemble was fitted on.
        features: the catalog's: `member`, `index`, `label`.
        latents: each member's latent for each residue.
        reference: the member whose residues are shown one by one.
        seed: of the control and the bootstrap.

    Returns:
        One row per group of latents: `group` (`mod10/3`, one residue of the reference member;
        `mod10`, all of them; `mod10, every member`, those of each member in turn; `other labels`
        and `no label`, the rest of the reference member's; `random directions`, the control);
        `cosine`, with the matched latent; `max_cosine`, with the nearest; `same_label`, how often
        the match has the same label (NaN without a label); each a mean over latents and other
        members, with `_low` and `_high`, 95%, over latents (`every member`: over residues; one
        residue: over members); `n`, what the interval is over; `n_pairs`, of latents.
    """
    modulus = latents.shape[1]
    directions = [_unit(member.W_dec.detach().numpy().astype(float)) for member in ensemble.members]
    labels = [_labels(features, member, len(rows)) for member, rows in enumerate(directions)]
    names = np.array([f"mod{modulus}/{r}" for r in range(modulus)], dtype=object)

    def figures(
        own: int, dictionary: np.ndarray, rows: np.ndarray, wanted: np.ndarray
    ) -> Float[np.ndarray, "3 others latents"]:
        out = []
        for other in range(len(directions)):
            if other != own:
                match = match_latents(dictionary, directions[other])
                got = labels[other][match.latent[rows]]
                same = (got == wanted) & (match.latent[rows] >= 0)
                out.append([match.cosine[rows], match.max_cosine[rows], same])
        return np.array(out, dtype=float).swapaxes(0, 1)

    everyone = [
        figures(own, directions[own], latents[own], names) for own in range(len(directions))
    ]
    mine, dictionary = latents[reference], directions[reference]
    rest = np.setdiff1d(np.arange(len(dictionary)), mine)
    others = figures(reference, dictionary, rest, labels[reference][rest])
    labelled = labels[reference][rest] != "neither"
    unlabelled = others[:, :, ~labelled]
    unlabelled[FIGURES.index("same_label")] = np.nan
    of_reference = everyone[reference]
    groups = {name: of_reference[:, :, [r]] for r, name in enumerate(names)}
    groups |= {
        f"mod{modulus}": of_reference,
        f"mod{modulus}, every member": np.concatenate(everyone, axis=1),
        "other labels": others[:, :, labelled],
        "no label": unlabelled,
    }
    rows = [_row(name, found, seed) for name, found in groups.items() if found.size]
    random = []
    for drawn in _random_sets(modulus, activations, seed):
        replaced = dictionary.copy()
        replaced[mine] = drawn
        random.append(figures(reference, replaced, mine, names))
    return pd.DataFrame([*rows, _control(np.stack(random, 1))])


def _row(
    group: str, found: Float[np.ndarray, "3 others latents"], seed: int
) -> dict[str, float | int | str]:
    flat = found.reshape(len(FIGURES), -1)
    members, latents = np.indices(found.shape[1:])
    drawn = latents if found.shape[2] > 1 else members
    means = bootstrap_means(flat, drawn.ravel(), seed=seed)
    bounds = np.percentile(means.draws, [2.5, 97.5], axis=0)
    row: dict[str, float | int | str] = {"group": group}
    for i, name in enumerate(FIGURES):
        row |= {name: means.estimate[i], f"{name}_low": bounds[0, i], f"{name}_high": bounds[1, i]}
    return row | {"n": means.n_clusters, "n_pairs": flat.shape[1]}


def _control(
    found: Float[np.ndarray, "3 sets others latents"],
) -> dict[str, float | int | str]:
    by_set = found.mean((2, 3))
    row: dict[str, float | int | str] = {"group": "random directions"}
    for name, values in zip(FIGURES, by_set, strict=True):
        low, high = np.percentile(values, [2.5, 97.5])
        row |= {name: values.mean(), f"{name}_low": low, f"{name}_high": high}
    return row | {"n": found.shape[1], "n_pairs": found[0].size}


def _random_sets(
    count: int, activations: Activations, seed: int
) -> Float[np.ndarray, "sets count d_model"]:
    """Sums of the centred tokens with Gaussian weights: the tokens' own covariance."""
    rng = np.random.default_rng(seed)
    centred = activations.x.numpy().astype(float)
    centred -= centred.mean(0)
    return _unit(rng.standard_normal((RANDOM_SETS, count, len(centred))) @ centred)


def _labels(features: pd.DataFrame, member: int, latents: int) -> np.ndarray:
    mine = features[features["member"] == member].set_index("index")["label"]
    return mine.reindex(range(latents), fill_value="neither").to_numpy(dtype=object)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-12)
