"""Do methods that need no SAE find the SAE's residue directions?

Witnesses: class means and a ridge probe, which are told the residues; single neurons of MLP0 and
independent components (ICA) of what the head reads, which are not: of those the best for each
residue is chosen on training numbers. Directions are compared as patterns: what M moves along when
the witness is on, so that decoder directions, neurons' output rows and class means are alike. The
probe alone gives its weights, as in the paper.
"""

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from scipy.stats import rankdata
from torch import Tensor

from features.directions import (
    ResidueDirections,
    class_mean_directions,
    probe_directions,
)
from features.statistics import bootstrap_means
from training.activations import Activations

RANDOM_DRAWS = 20
"""Sets of random directions behind the control."""


class _Found(NamedTuple):
    vectors: Float[np.ndarray, "modulus d_model"]
    chosen: Int[np.ndarray, " modulus"]
    candidates: int


def read_space(kernel: Float[Tensor, "d_model candidates"]) -> Float[Tensor, "d_model rank"]:
    """An orthonormal basis of the directions in M that a head's circuit reads.

    Args:
        kernel: of the `HeadCircuit`; its rank is d_head at most.
    """
    left, size, _ = torch.linalg.svd(kernel.double(), full_matrices=False)
    return left[:, size > 1e-5 * size[0]].float()


def witness_table(
    sae: Sequence[ResidueDirections],
    folds: Sequence[int],
    activations: Activations,
    reads: Float[Tensor, "d_model rank"],
    *,
    neurons: Float[Tensor, "neurons d_model"] | None = None,
    seed: int = 0,
) -> pd.DataFrame:
    """Every witness beside every member's SAE direction of the same residue.

    Args:
        sae: each member's residue directions.
        folds: that each member holds out.
        activations: M(t).
        reads: what the head reads of M (`read_space`); ICA is run on M projected on it.
        neurons: rows of MLP0's output matrix; without them there are no such rows.
        seed: of ICA and the control.

    Returns:
        One row per member, residue and witness (`SAE` too, for its AUROC): `member`; `residue`;
        `witness`; `candidates`, of which one was chosen; `chosen`, its number; `cosine` with the
        SAE's direction, and `cosine_contrast`, both less their mean over residues;
        `cosine_random`, the control: 95th percentile of the best of as many random directions
        with M's covariance, chosen by the cosine itself (which no witness is); `auroc`, on
        held-out numbers, of M along the witness for its residue against the others; `n`, held-out
        numbers.
    """
    modulus = sae[0].modulus
    table = activations.tokens.table
    numbers = (table["task"] == "numbers").to_numpy()
    residue = table["index"].to_numpy() % modulus
    x = activations.x.numpy().astype(float)
    told = {
        "class means": class_mean_directions(activations, modulus),
        "probe": probe_directions(activations, modulus),
    }
    spaces = reads.numpy().astype(float)
    rows = []
    for fold in sorted(set(folds)):
        held_out = activations.held_out(fold)
        train, test = numbers & ~held_out, numbers & held_out
        mean, n = x[train].mean(0), table.loc[test, "index"].nunique()
        found = {
            name: _Found(sets[fold].vectors.numpy().astype(float), np.arange(modulus), 1)
            for name, sets in told.items()
        }
        untold = {"ICA": _independent(x, spaces, activations, fold, seed)}
        if neurons is not None:
            untold["neurons"] = neurons.numpy().astype(float)
        for name, candidates in untold.items():
            chosen, sign = _best(x[train] @ candidates.T, residue[train], modulus)
            found[name] = _Found(sign[:, None] * candidates[chosen], chosen, len(candidates))
        members = [member for member, its in zip(sae, folds, strict=True) if its == fold]
        directions = np.stack([member.vectors.numpy().astype(float) for member in members])
        spread = _square_root(x[train] - mean)
        control = {
            count: _random_cosines(directions, spread, count, seed)
            for count in {1, *(witness.candidates for witness in found.values())}
        }
        for at, (member, own) in enumerate(zip(members, directions, strict=True)):
            itself = _Found(own, np.arange(modulus), 1)
            for name, (vectors, chosen, candidates) in {"SAE": itself, **found}.items():
                scores = (x[test] - mean) @ vectors.T
                contrast = _cosines(_contrast(vectors), _contrast(own))
                cosine = _cosines(vectors, own)
                for r in range(modulus):
                    rows.append(
                        {
                            "member": member.member,
                            "residue": r,
                            "witness": name,
                            "candidates": candidates,
                            "chosen": int(chosen[r]),
                            "cosine": cosine[r],
                            "cosine_contrast": contrast[r],
                            "cosine_random": control[candidates][at, r],
                            "auroc": auroc(scores[:, [r]], residue[test] == r)[0],
                            "n": n,
                        }
                    )
    return pd.DataFrame(rows).sort_values("member", kind="stable", ignore_index=True)


def witness_summary(table: pd.DataFrame, *, seed: int = 0) -> pd.DataFrame:
    """Means over residues and members, with 95% intervals over residues.

    Returns:
        One row per witness: `witness`; `cosine`, `cosine_contrast` and `auroc`, each with `_low`
        and `_high`; `cosine_random`, the control's mean; an AUROC's control is 0.5; `n`, residues.
    """
    rows = []
    for witness, part in table.groupby("witness", sort=False):
        names = ["cosine", "cosine_contrast", "auroc"]
        means = bootstrap_means(part[names].to_numpy().T, part["residue"].to_numpy(), seed=seed)
        low, high = np.percentile(means.draws, [2.5, 97.5], axis=0)
        row: dict[str, object] = {"witness": witness}
        for i, name in enumerate(names):
            row |= {name: means.estimate[i], f"{name}_low": low[i], f"{name}_high": high[i]}
        random = part["cosine_random"].mean()
        rows.append(row | {"cosine_random": random, "n": part["residue"].nunique()})
    return pd.DataFrame(rows)


def auroc(
    scores: Float[np.ndarray, "rows k"], positive: Bool[np.ndarray, " rows"]
) -> Float[np.ndarray, " k"]:
    """How often a positive row scores above a negative one; ties count half. NaN without either."""
    ranks = rankdata(scores, axis=0)[positive].sum(0)
    n, m = positive.sum(), (~positive).sum()
    if n * m == 0:
        return np.full(scores.shape[1], np.nan)
    return (ranks - n * (n + 1) / 2) / (n * m)


def _independent(
    x: np.ndarray, reads: np.ndarray, activations: Activations, fold: int, seed: int
) -> Float[np.ndarray, "components d_model"]:
    """The patterns of the independent components: the covariance of M with each source."""
    from sklearn.decomposition import FastICA
    from sklearn.exceptions import ConvergenceWarning

    fitted = x[activations.fit_rows(fold)]
    read = fitted @ reads
    rank = int(np.linalg.matrix_rank(read - read.mean(0)))
    ica = FastICA(rank, whiten="unit-variance", random_state=seed)
    with warnings.catch_warnings():  # where sources are Gaussian it turns for ever
        warnings.simplefilter("ignore", ConvergenceWarning)
        sources = np.asarray(ica.fit_transform(read))
    return sources.T @ (fitted - fitted.mean(0)) / len(fitted)


def _best(
    scores: Float[np.ndarray, "rows candidates"], residue: Int[np.ndarray, " rows"], modulus: int
) -> tuple[Int[np.ndarray, " modulus"], Float[np.ndarray, " modulus"]]:
    """The candidate that goes most with each residue, in either direction, and its sign.

    By correlation, because areas tie at 1: a direction in which a residue is the outermost of ten
    tells it as well as the residue's own.
    """
    member = np.eye(modulus)[residue]
    centred = [v - v.mean(0) for v in (member, scores)]
    goes_with = _unit(centred[0].T) @ _unit(centred[1].T).T
    chosen = np.abs(goes_with).argmax(1)
    return chosen, np.sign(goes_with[np.arange(modulus), chosen])


def _square_root(centred: Float[np.ndarray, "rows d_model"]) -> Float[np.ndarray, "rank d_model"]:
    """Orthogonal rows with the rows' own covariance: as good to draw from, and fewer."""
    _, size, axes = np.linalg.svd(centred, full_matrices=False)
    return size[:, None] * axes


def _random_cosines(
    own: Float[np.ndarray, "members modulus d_model"],
    spread: Float[np.ndarray, "rank d_model"],
    candidates: int,
    seed: int,
) -> Float[np.ndarray, "members modulus"]:
    """Weights are drawn on the rows of `spread`; the directions themselves are not needed."""
    rng = np.random.default_rng(seed)
    goes = spread @ _unit(own.reshape(-1, own.shape[-1])).T
    size = np.linalg.norm(spread, axis=1)
    best = []
    for _ in range(RANDOM_DRAWS):
        weights = rng.standard_normal((candidates, len(spread)))
        length = np.linalg.norm(weights * size, axis=1, keepdims=True)
        best.append(np.abs(weights @ goes / np.maximum(length, 1e-12)).max(0))
    return np.percentile(best, 95, axis=0).reshape(own.shape[:2])


def _cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (_unit(a) * _unit(b)).sum(1)


def _contrast(vectors: np.ndarray) -> np.ndarray:
    return _unit(vectors) - _unit(vectors).mean(0)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)
