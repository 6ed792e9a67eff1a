"""What is removed from M(t) to ask what it was for: residues, tens, task, order, and controls."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from eval.patching.subspaces import matched_random_subspaces, span, variance_share
from features.directions import ResidueDirections
from features.order import ordered_tasks, standardised_index
from training.activations import Activations

RANDOM, MATCHED = "random", "random, variance matched"


class Lesion(NamedTuple):
    """A subspace to remove."""

    removed: str
    """`mod-10`, `tens`, `task`, `ordinal`, `random` or `random, variance matched`."""
    basis: Float[Tensor, "d_model rank"]


class Lesions(NamedTuple):
    """What is removed beside one set of residue directions, fitted on the same tokens as it was."""

    directions: ResidueDirections
    each: list[Lesion]


def lesions(
    sets: Sequence[ResidueDirections],
    activations: Activations,
    *,
    random_subspaces: int = 20,
    seed: int = 0,
) -> list[Lesions]:
    """For each set of residue directions: their span, and what else could be removed.

    `tens` is the span of the class means of the tens digit over fitted numbers, `task` of the
    tasks' means, and `ordinal` the covariance of M with the standardised index, both centred within
    tasks. Once such a subspace is out, no linear readout of the fitted tokens has that label
    (removing the weights of a regression would not have this effect). `random` has the rank of the
    residues' span in uniformly random directions; the matched one also holds its variance over the
    fitted numbers.

    Args:
        sets: of one source, with the same modulus.
        activations: M(t).
        random_subspaces: of each kind, shared out over the sets (one each at least).
        seed: of the random subspaces.
    """
    table = activations.tokens.table
    numbers = (table["task"] == "numbers").to_numpy()
    draws = -(-random_subspaces // len(sets))
    out = []
    for number, directions in enumerate(sets):
        fitted = ~directions.held_out.numpy() & ~table["held_out_task"].to_numpy()
        spread = _centred(activations.x[torch.tensor(numbers & fitted)])
        basis = span(directions.vectors)
        tens = table.loc[numbers & fitted, "index"].to_numpy() // 10 % 10
        each = [Lesion(f"mod-{directions.modulus}", basis), Lesion("tens", _classes(spread, tens))]
        each += _across_tasks(activations.x[torch.tensor(fitted)], table[fitted])
        d_model, rank = basis.shape
        generator = torch.Generator().manual_seed(seed + number)
        uniform = torch.randn(draws, rank, d_model, generator=generator)
        each += [Lesion(RANDOM, span(vectors)) for vectors in uniform]
        share = variance_share(spread, basis)
        matched = matched_random_subspaces(spread, rank, share, count=draws, seed=seed + number)
        each += [Lesion(MATCHED, control) for control in matched]
        out.append(Lesions(directions, each))
    return out


def _centred(x: Float[Tensor, "tokens d_model"]) -> Float[Tensor, "tokens d_model"]:
    return x - x.mean(0)


def _classes(
    x: Float[Tensor, "tokens d_model"], label: np.ndarray
) -> Float[Tensor, "d_model rank"]:
    """The span of the differences between the classes' means, each class counting alike."""
    means = [x[torch.tensor(label == name)].mean(0) for name in pd.unique(pd.Series(label))]
    return span(_centred(torch.stack(means)))


def _across_tasks(x: Float[Tensor, "tokens d_model"], table: pd.DataFrame) -> list[Lesion]:
    """Where there are two tasks, what tells them apart; where any is long enough, its order."""
    out = []
    task = table["task"].to_numpy()
    if table["task"].nunique() > 1:
        out.append(Lesion("task", _classes(x, task)))
    ordered = table["task"].isin(ordered_tasks(table)).to_numpy()
    if ordered.any():
        within = x[torch.tensor(ordered)].clone()
        for name in np.unique(task[ordered]):
            rows = torch.tensor(task[ordered] == name)
            within[rows] = _centred(within[rows])
        index = torch.tensor(standardised_index(table[ordered]), dtype=x.dtype)
        out.append(Lesion("ordinal", span((index @ within)[None])))
    return out
