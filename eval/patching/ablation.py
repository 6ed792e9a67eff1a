"""Necessity: what is left of succession when the residue directions are removed from M(t)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from eval.patching.readout import Readout, margin
from eval.patching.subspaces import matched_random_subspaces, remove, span, variance_share
from features.directions import ResidueDirections, check_directions
from features.statistics import Bootstrap, bootstrap_means, change_interval
from training.activations import Activations

ABLATIONS = ("mean", "zero", "resample")
"""What takes the place of the part that is removed: the fitted numbers' mean, nothing, or the part
of another number, drawn at random."""
RANDOM = "random, variance matched"
_SHARES = ("score", "score_before", "units_right", "tens_right", "restored", "restored_other")
_MARGINS = ("margin", "margin_before")


class Removal(NamedTuple):
    """A subspace to remove from one set's held-out numbers, and the classes that it tells apart."""

    name: str
    basis: Float[Tensor, "d_model rank"]
    classes: Int[np.ndarray, " tokens"]
    """Of each token: what is given back after the ablation is the mean of its own class."""


def ablation_table(
    sets: Sequence[ResidueDirections],
    activations: Activations,
    readouts: Sequence[Readout],
    *,
    random_subspaces: int = 20,
    seed: int = 0,
) -> pd.DataFrame:
    """Remove each set's directions through the head, beside what else could be removed.

    Scored on the number tokens that the set was not fitted on, pooled over sets. Afterwards the
    mean of the token's own class is given back in the same subspace, and then that of another
    class, both over fitted numbers: if the ablation took the class away and nothing else, the
    first restores the score, and the second does not.

    Args:
        sets: of one source, with the same modulus.
        activations: M(t).
        readouts: of the chosen head; those of numbers are used.
        random_subspaces: draws for each set.
        seed: of the controls and the bootstrap.

    Returns:
        One row for each of `mod-m` (the span of the directions), `mod-m contrasts` (of their
        differences), `tens` (class means of the tens digit) and `random, variance matched` (one
        pool of all draws), as `removed`, and each of `ABLATIONS`, as `ablation`: `rank`,
        `variance_removed`; `score_before`, `score`, their `ratio`, and `change`, paired;
        `units_right` and `tens_right` (of the number written); `margin_before`, `margin` and
        `margin_change`, of the successor's logit above the next best, in standard deviations of the
        token's unedited logits; `restored` and `restored_other`, the score with a class given back;
        of all but the first two, 95% intervals `_low`, `_high`; `n_tokens`, `n_subspaces`.

    Raises:
        OrdinalError: the directions are not of these activations, or hold out no number.
    """
    check_directions(sets, activations)
    rows: dict[tuple[str, str], list[dict[str, np.ndarray]]] = {}
    about: dict[str, list[tuple[int, float]]] = {}
    for number, directions in enumerate(sets):
        fitted = _fitted_numbers(directions, activations)
        spread = activations.x[fitted] - activations.x[fitted].mean(0)
        rng = np.random.default_rng(seed + number)
        for removal in removals(directions, activations, random_subspaces, seed + number):
            share = variance_share(spread, removal.basis)
            about.setdefault(removal.name, []).append((removal.basis.shape[1], share))
            for ablation in ABLATIONS:
                rows.setdefault((removal.name, ablation), []).extend(
                    _scored(removal, ablation, directions, activations, readouts, fitted, rng)
                )
    table = []
    for (name, ablation), parts in rows.items():
        ranks, shares = zip(*about[name], strict=True)
        table.append(
            {
                "directions": sets[0].source,
                "removed": name,
                "ablation": ablation,
                "rank": int(np.median(ranks)),
                "variance_removed": float(np.mean(shares)),
                **_row({key: np.concatenate([p[key] for p in parts]) for key in parts[0]}, seed),
                "n_subspaces": len(ranks),
            }
        )
    return pd.DataFrame(table)


def removals(
    directions: ResidueDirections, activations: Activations, random_subspaces: int, seed: int
) -> list[Removal]:
    """The directions' span, that of their differences, the tens, and the random subspaces."""
    fitted = _fitted_numbers(directions, activations)
    spread = activations.x[fitted] - activations.x[fitted].mean(0)
    index = activations.tokens.table["index"].to_numpy()
    residue, tens = index % directions.modulus, index // 10 % 10
    vectors, mod = directions.vectors, f"mod-{directions.modulus}"
    basis = span(vectors)
    share = variance_share(spread, basis)
    tens_basis = span(_class_means(spread, tens[fitted], 10)[np.unique(tens[fitted])])
    matched = matched_random_subspaces(
        spread, basis.shape[1], share, count=random_subspaces, seed=seed
    )
    return [
        Removal(mod, basis, residue),
        Removal(f"{mod} contrasts", span(vectors - vectors.mean(0)), residue),
        Removal("tens", tens_basis, tens),
        *(Removal(RANDOM, control, residue) for control in matched),
    ]


def _fitted_numbers(
    directions: ResidueDirections, activations: Activations
) -> Int[np.ndarray, " numbers"]:
    numbers = (activations.tokens.table["task"] == "numbers").to_numpy()
    return np.flatnonzero(numbers & ~directions.held_out.numpy())


def _scored(
    removal: Removal,
    ablation: str,
    directions: ResidueDirections,
    activations: Activations,
    readouts: Sequence[Readout],
    fitted: Int[np.ndarray, " numbers"],
    rng: np.random.Generator,
) -> list[dict[str, np.ndarray]]:
    """What the head makes of each held-out number with a successor, one part for each readout."""
    x, basis = activations.x, removal.basis
    mean = x[fitted].mean(0)
    means = _class_means(x[fitted], removal.classes[fitted], int(removal.classes.max()) + 1)
    known = np.unique(removal.classes[fitted])
    parts = []
    for readout in readouts:
        if readout.task != "numbers":
            continue
        held_out = directions.held_out[readout.rows].numpy()
        positions = readout.sources[held_out[readout.sources]]
        rows = readout.rows[positions]
        m = x[rows]
        to = {
            "mean": mean,
            "zero": torch.zeros_like(mean),
            "resample": x[rng.choice(fitted, len(rows))],
        }[ablation]
        ablated = remove(m, basis, to)
        own = removal.classes[rows]
        other = np.array([rng.choice(known[known != c]) for c in own])
        before, after = readout.circuit.logits(m), readout.circuit.logits(ablated)
        targets = torch.from_numpy(readout.successor[positions])
        spread = before.std(1)
        written = readout.index[after.argmax(1).numpy()]
        target = readout.index[readout.successor[positions]]
        margins = [margin(logits, targets) for logits in (before, after)]
        parts.append(
            {
                "index": readout.index[positions],
                "row": rows.numpy(),
                "score_before": (margins[0] > 0).numpy(),
                "score": (margins[1] > 0).numpy(),
                "margin_before": (margins[0] / spread).numpy(),
                "margin": (margins[1] / spread).numpy(),
                "units_right": written % 10 == target % 10,
                "tens_right": written // 10 == target // 10,
                "restored": readout.succeeds(remove(m, basis, means[own]), positions),
                "restored_other": readout.succeeds(remove(m, basis, means[other]), positions),
            }
        )
    return parts


def _row(pooled: dict[str, np.ndarray], seed: int) -> dict[str, float | int]:
    columns = [*_SHARES, *_MARGINS]
    values = np.stack([pooled[name].astype(float) for name in columns])
    result = bootstrap_means(values, pooled["index"], seed=seed)
    shares = Bootstrap(
        result.estimate[: len(_SHARES)],
        result.draws[:, : len(_SHARES)],
        result.n_rows,
        result.n_clusters,
    )
    bounds = np.concatenate(
        [shares.interval(), np.percentile(result.draws[:, len(_SHARES) :], [2.5, 97.5], axis=0)], 1
    )
    row: dict[str, float | int] = {}
    for at, name in enumerate(columns):
        row[name] = result.estimate[at]
        row[f"{name}_low"], row[f"{name}_high"] = bounds[:, at]
    by_name = dict(zip(columns, result.draws.T, strict=True))
    before, after = row["score_before"], row["score"]
    row["ratio"] = after / before if before > 0 else np.nan
    drawn = {
        "ratio": by_name["score"] / np.maximum(by_name["score_before"], 1e-12),
        "change": by_name["score"] - by_name["score_before"],
        "margin_change": by_name["margin"] - by_name["margin_before"],
    }
    row["change"] = after - before
    row["margin_change"] = row["margin"] - row["margin_before"]
    for name, draws in drawn.items():
        row[f"{name}_low"], row[f"{name}_high"] = np.percentile(draws, [2.5, 97.5])
    if before > 0 and np.ptp(drawn["ratio"]) == 0:  # all or none: the exact interval of the score
        row["ratio_low"] = row["score_low"] / before
        row["ratio_high"] = min(row["score_high"] / before, max(row["ratio"], 1.0))
    n = result.n_clusters
    change = change_interval(drawn["change"], row["change"], n)
    row["change"], row["change_low"], row["change_high"] = change
    row["n_tokens"] = len(np.unique(pooled["row"]))
    return row


def _class_means(
    values: Float[Tensor, "tokens d_model"], classes: Int[np.ndarray, " tokens"], count: int
) -> Float[Tensor, "classes d_model"]:
    """Row c is the mean of class c; of all, where a class has no token."""
    labels = torch.from_numpy(classes)
    total = torch.zeros(count, values.shape[1]).index_add(0, labels, values)
    size = torch.bincount(labels, minlength=count)[:, None]
    return torch.where(size > 0, total / size.clamp_min(1), values.mean(0))
