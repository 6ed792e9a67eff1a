"""Is one latent the most important for the numbers of a residue? (Successor Heads, section 3.1)

A latent's importance for a token is the drop of the correct successor's logit, through the head's
effective OV circuit, when its contribution (activity times decoder direction) is taken out of M(t).
The circuit is linear, so every drop is one product. The *modal* latent of a residue class is the
one that is most important for the most of its tokens; the paper's covers 58.5% of a class on
average.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int

from eval.patching.readout import Readout
from features.statistics import shuffled_indices
from sae.autoencoder import SAE
from sae.ensemble import SAEEnsemble
from training.activations import Activations

PAPER = 0.585
"""Share of a class that its modal latent covers in the paper, on average."""
PERMUTATIONS = 200
"""Behind the control."""
DRAWS = 1000
"""Behind the interval."""


class Importance(NamedTuple):
    """The modal latents of all members and residues, and their mean share beside its control."""

    table: pd.DataFrame
    """One row per member and residue: `member`; `residue`; `latent`, the modal one; `share` of the
    class's tokens that it covers; `latent_fitted`, the modal one of the fitted tokens, and
    `share_held_out`, what it covers of those held out (NaN where there are none); `n` and
    `n_held_out`, tokens."""
    summary: pd.DataFrame
    """One row for `all tokens` and one for `held out` (`tokens`): `share`, the mean over residues
    and members, with `share_low` and `share_high` (95%, both drawn again); `permuted` and
    `permuted_95`, mean and 95th percentile of the same with the residues of the numbers permuted,
    spellings together; `p_value`; `n`, number tokens (held out: by any member); `n_classes`,
    members times residues."""


def importance(
    ensemble: SAEEnsemble,
    activations: Activations,
    readouts: Sequence[Readout],
    modulus: int,
    *,
    seed: int = 0,
) -> Importance:
    """The modal most important latents of the numbers that have a successor.

    On all tokens the latent is chosen on those that it is counted on, as in the paper; its control
    is chosen likewise. Held out, it is chosen on the tokens that its member was fitted on.

    Args:
        ensemble: the SAEs.
        activations: M(t).
        readouts: of the chosen head; those of numbers are used.
        modulus: of the residue classes.
        seed: of the control and the bootstrap.

    Returns:
        Two empty tables where no number has a successor.
    """
    read = [readout for readout in readouts if readout.task == "numbers"]
    if not read:
        return Importance(pd.DataFrame(), pd.DataFrame())
    rows = np.concatenate([readout.rows.numpy()[readout.sources] for readout in read])
    index = np.concatenate([readout.index[readout.sources] for readout in read])
    permuted: dict[int, np.ndarray] = {}
    tables, nulls, ever_held_out = [], [], np.zeros(len(rows), bool)
    for number, (member, fold) in enumerate(
        zip(ensemble.members, ensemble.held_out_folds, strict=True)
    ):
        held_out = activations.held_out(fold)[rows]
        ever_held_out |= held_out
        if fold not in permuted:
            permuted[fold] = _permuted(index, held_out, seed) % modulus
        most = np.concatenate([_most_important(member, activations, readout) for readout in read])
        latents, top = np.unique(most, return_inverse=True)
        true = _modal((index % modulus)[None], top, held_out, modulus)
        nulls.append(_modal(permuted[fold], top, held_out, modulus))
        tables.append(
            pd.DataFrame(
                {
                    "member": number,
                    "residue": range(modulus),
                    "latent": latents[true.latent[0]],
                    "share": true.share[0],
                    "latent_fitted": latents[true.latent_fitted[0]],
                    "share_held_out": true.share_held_out[0],
                    "n": np.bincount(index % modulus, minlength=modulus),
                    "n_held_out": np.bincount(index[held_out] % modulus, minlength=modulus),
                }
            )
        )
    table = pd.concat(tables, ignore_index=True)
    summary = []
    names = {"all tokens": ("share", len(rows))}
    names["held out"] = ("share_held_out", int(ever_held_out.sum()))
    for tokens, (name, n) in names.items():
        shares = table.pivot(index="member", columns="residue", values=name).to_numpy()
        null = np.stack([getattr(found, name) for found in nulls], 1)
        row = _summary(shares, null, seed)
        summary.append({"tokens": tokens, **row, "n": n, "n_classes": shares.size})
    return Importance(table, pd.DataFrame(summary))


class _Modal(NamedTuple):
    latent: Int[np.ndarray, "labellings modulus"]
    share: Float[np.ndarray, "labellings modulus"]
    latent_fitted: Int[np.ndarray, "labellings modulus"]
    share_held_out: Float[np.ndarray, "labellings modulus"]


def _most_important(
    member: SAE, activations: Activations, readout: Readout
) -> Int[np.ndarray, " sources"]:
    """The latent whose removal costs the correct successor's logit most."""
    at = torch.from_numpy(readout.sources)
    written = member.W_dec @ readout.circuit.kernel[:, readout.successor[readout.sources]]
    drop = member.encode(activations.x[readout.rows[at]]) * written.T
    return drop.argmax(1).numpy()


def _modal(
    label: Int[np.ndarray, "labellings tokens"],
    top: Int[np.ndarray, " tokens"],
    held_out: Bool[np.ndarray, " tokens"],
    modulus: int,
) -> _Modal:
    """The most frequent of the tokens' latents in each class, under each labelling."""
    shape = (len(label), modulus, int(top.max()) + 1)
    cell = (np.arange(len(label))[:, None] * modulus + label) * shape[2] + top

    def counts(tokens: np.ndarray) -> Int[np.ndarray, "labellings modulus latents"]:
        found = np.bincount(cell[:, tokens].ravel(), minlength=int(np.prod(shape)))
        return found.reshape(shape)

    fitted, held = counts(~held_out), counts(held_out)
    latent, latent_fitted = (fitted + held).argmax(2), fitted.argmax(2)
    return _Modal(
        latent,
        _share(fitted + held, latent),
        latent_fitted,
        _share(held, latent_fitted),
    )


def _share(
    counts: Int[np.ndarray, "labellings modulus latents"],
    latent: Int[np.ndarray, "labellings modulus"],
) -> Float[np.ndarray, "labellings modulus"]:
    covered = np.take_along_axis(counts, latent[..., None], 2)[..., 0]
    total = counts.sum(2)
    return np.where(total > 0, covered / np.maximum(total, 1), np.nan)


def _permuted(
    index: Int[np.ndarray, " tokens"], held_out: Bool[np.ndarray, " tokens"], seed: int
) -> Int[np.ndarray, "permutations tokens"]:
    """Numbers that change places among the fitted and among those held out, spellings together."""
    out = np.empty((PERMUTATIONS, len(index)), dtype=int)
    for tokens in (held_out, ~held_out):
        if tokens.any():
            band = int(index.max()) + 1
            out[:, tokens] = shuffled_indices(index[tokens], band, PERMUTATIONS, seed)
    return out


def _summary(
    shares: Float[np.ndarray, "members modulus"],
    null: Float[np.ndarray, "permutations members modulus"],
    seed: int,
) -> dict[str, float]:
    """Members and residues are drawn again, each for itself: neither alone makes a share."""
    if np.isnan(shares).all():
        names = ("share", "share_low", "share_high", "permuted", "permuted_95", "p_value")
        return dict.fromkeys(names, np.nan)
    rng = np.random.default_rng(seed)
    members, residues = (rng.integers(0, size, (DRAWS, size)) for size in shares.shape)
    drawn = np.nanmean(shares[members[:, :, None], residues[:, None, :]], axis=(1, 2))
    low, high = np.nanpercentile(drawn, [2.5, 97.5])
    value, control = np.nanmean(shares), np.nanmean(null, axis=(1, 2))
    return {
        "share": float(value),
        "share_low": float(low),
        "share_high": float(high),
        "permuted": float(control.mean()),
        "permuted_95": float(np.percentile(control, 95)),
        "p_value": (1 + int((control >= value).sum())) / (1 + PERMUTATIONS),
    }
