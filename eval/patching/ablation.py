"""Necessity: what is left of succession when the residue directions are removed from M(t)."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor

from eval.patching.readout import Readout
from eval.patching.subspaces import matched_random_subspaces, remove, span, variance_share
from features.directions import ResidueDirections
from features.statistics import bootstrap_means
from training.activations import Activations


@dataclass
class _Tally:
    """Rows of one removed subspace, pooled over the sets of directions."""

    before: list[np.ndarray] = field(default_factory=list)
    after: list[np.ndarray] = field(default_factory=list)
    units: list[np.ndarray] = field(default_factory=list)
    tens: list[np.ndarray] = field(default_factory=list)
    index: list[np.ndarray] = field(default_factory=list)
    ranks: list[int] = field(default_factory=list)
    shares: list[float] = field(default_factory=list)


def ablation_table(
    sets: Sequence[ResidueDirections],
    activations: Activations,
    readouts: Sequence[Readout],
    *,
    random_subspaces: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Remove each set's directions through the head, beside what else could be removed.

    Scored on the number tokens that the set was not fitted on, pooled over sets; removal is to the
    mean of the numbers that it was fitted on.

    Args:
        sets: of one source, with the same modulus.
        readouts: of the chosen head; those of numbers are used.

    Returns:
        One row for each of `mod-m` (the span of the directions), `mod-m contrasts` (of their
        differences), `tens` (class means of the tens digit) and `random, variance matched` (one
        pool of all draws): `rank`, `variance_removed`, `score_before`, `score`, `ratio` with its
        95% interval; `units_right` and `tens_right` (of the number written) with theirs;
        `n_tokens`, `n_subspaces`.
    """
    table = activations.tokens.table
    numbers = torch.tensor((table["task"] == "numbers").to_numpy())
    tallies: dict[str, _Tally] = {}
    for number, directions in enumerate(sets):
        fitted = activations.x[numbers & ~directions.held_out]
        mean = fitted.mean(0)
        spread = fitted - mean
        vectors = directions.vectors
        mod = f"mod-{directions.modulus}"
        basis = span(vectors)
        share = variance_share(spread, basis)
        removed = [(mod, basis), (f"{mod} contrasts", span(vectors - vectors.mean(0)))]
        tens = table.loc[(numbers & ~directions.held_out).numpy(), "index"].to_numpy() // 10 % 10
        removed.append(("tens", span(_class_means(spread, tens))))
        matched = matched_random_subspaces(
            spread, basis.shape[1], share, count=random_subspaces, seed=seed + number
        )
        removed += [("random, variance matched", control) for control in matched]
        for name, subspace in removed:
            _score(
                tallies.setdefault(name, _Tally()),
                subspace,
                variance_share(spread, subspace),
                mean,
                directions,
                activations,
                readouts,
            )
    return pd.DataFrame(
        [{"directions": sets[0].source, "removed": k, **_row(t, seed)} for k, t in tallies.items()]
    )


def _score(
    tally: _Tally,
    subspace: Float[Tensor, "d_model rank"],
    share: float,
    mean: Float[Tensor, " d_model"],
    directions: ResidueDirections,
    activations: Activations,
    readouts: Sequence[Readout],
) -> None:
    for readout in readouts:
        if readout.task != "numbers":
            continue
        held_out = directions.held_out[readout.rows].numpy()
        positions = readout.sources[held_out[readout.sources]]
        m = activations.x[readout.rows[positions]]
        edited = remove(m, subspace, mean)
        written = readout.index[readout.predicted(edited).numpy()]
        target = readout.index[readout.successor[positions]]
        tally.before.append(readout.succeeds(m, positions))
        tally.after.append(readout.succeeds(edited, positions))
        tally.units.append(written % 10 == target % 10)
        tally.tens.append(written // 10 == target // 10)
        tally.index.append(readout.index[positions])
    tally.ranks.append(subspace.shape[1])
    tally.shares.append(share)


def _row(tally: _Tally, seed: int) -> dict[str, float | int]:
    columns = [np.concatenate(c) for c in (tally.after, tally.before, tally.units, tally.tens)]
    result = bootstrap_means(
        np.stack(columns).astype(float), np.concatenate(tally.index), seed=seed
    )
    after, before, units, tens = result.estimate
    ratio = result.draws[:, 0] / np.maximum(result.draws[:, 1], 1e-12)
    low, high = np.percentile(ratio, [2.5, 97.5])
    bounds = result.interval()
    return {
        "rank": int(np.median(tally.ranks)),
        "variance_removed": float(np.mean(tally.shares)),
        "score_before": before,
        "score": after,
        "ratio": after / before if before > 0 else np.nan,
        "ratio_low": low,
        "ratio_high": high,
        "units_right": units,
        "units_right_low": bounds[0, 2],
        "units_right_high": bounds[1, 2],
        "tens_right": tens,
        "tens_right_low": bounds[0, 3],
        "tens_right_high": bounds[1, 3],
        "n_tokens": len(np.unique(np.concatenate(tally.index))),
        "n_subspaces": len(tally.ranks),
    }


def _class_means(
    spread: Float[Tensor, "tokens d_model"], label: np.ndarray
) -> Float[Tensor, "classes d_model"]:
    return torch.stack([spread[torch.as_tensor(label == c)].mean(0) for c in np.unique(label)])
