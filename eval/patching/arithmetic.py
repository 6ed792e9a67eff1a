"""Sufficiency: vector arithmetic `M(n) + k (f_j - f_i)` read by the head (section 3.3)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from eval.patching.readout import Readout
from features.directions import ResidueDirections
from features.statistics import bootstrap_means
from training.activations import Activations

SCALES = (0.5, 0.75, 1.0, 1.25, 1.5, 2.0, 2.5, 3.0, 4.0, 6.0)
"""In class contrasts: 1 moves a number as far along the directions as its classes lie apart."""
DECADES = ((20, 60), (60, 100))
"""The scale is chosen on one range of numbers and tested on the other (first, last + 1)."""
CONTROLS = ("none", "random", "permuted")


class Edits(NamedTuple):
    """Every edit of one readout: source position, source and target residue, expected output."""

    source: Int[np.ndarray, " edits"]
    i: Int[np.ndarray, " edits"]
    j: Int[np.ndarray, " edits"]
    expected: Int[np.ndarray, " edits"]
    """Position of the successor of the element that the edit should have made of the source."""


def possible_edits(readout: Readout, modulus: int) -> Edits:
    """Every source and target residue j != i whose element exists and has a successor.

    The target keeps the source's multiple of the modulus: 47 with 3 is 43, and should say 44.
    """
    position = {int(index): at for at, index in enumerate(readout.index)}
    rows = []
    for at, index in enumerate(readout.index):
        if readout.successor[at] < 0:
            continue
        i = index % modulus
        for j in range(modulus):
            target = position.get(int(index - i + j))
            if j != i and target is not None and readout.successor[target] >= 0:
                rows.append((at, i, j, readout.successor[target]))
    columns = np.array(rows, dtype=int).reshape(-1, 4).T
    return Edits(*columns)


def arithmetic_edits(
    sets: Sequence[ResidueDirections],
    activations: Activations,
    readouts: Sequence[Readout],
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Every edit of every held-out source, under each set of directions and each control.

    The scale is chosen by success on the numbers of the other decades that the set was fitted on;
    for everything but 20-99 it is chosen on all of 20-99. Controls use the scale of the edit that
    they accompany: `random` replaces f_j - f_i by a random vector of its norm, `permuted` takes the
    directions of other residues.

    Returns:
        One row per edit: `directions`, `member`, `control`, `task`, `text`, `index`, `target`
        (index), `i`, `j`, `split`, `scale` (in class contrasts), `k`,
        `written` (index), `expected` (index), `success`,
        `last_digit`, `logit_gain` (change of the expected token's logit less the change of the
        unedited successor's, through the head).
    """
    generator = torch.Generator().manual_seed(seed)
    parts: list[dict[str, np.ndarray]] = []
    possible = [(readout, possible_edits(readout, sets[0].modulus)) for readout in readouts]
    for directions in sets:
        unit = class_contrast(directions, activations)
        scales = {
            split: unit * _best_scale(directions, activations, possible, fitted_on, unit)
            for split, fitted_on in (
                ("20-59", DECADES[1:]),
                ("60-99", DECADES[:1]),
                ("other", DECADES),
            )
        }
        for readout, everything in possible:
            held_out = directions.held_out[readout.rows].numpy()[everything.source]
            edits = Edits(*(column[held_out] for column in everything))
            if len(edits.source) == 0:
                continue
            split = _split(readout, edits)
            k = torch.tensor([scales[name] for name in split], dtype=torch.float32)
            for control in CONTROLS:
                delta = _deltas(directions, edits, control, generator)
                parts.append(
                    _apply(directions, activations, readout, edits, k[:, None] * delta)
                    | {
                        "control": np.full(len(split), control),
                        "split": split,
                        "scale": k.numpy() / unit,
                        "k": k.numpy(),
                    }
                )
    return pd.DataFrame({name: np.concatenate([p[name] for p in parts]) for name in parts[0]})


def class_contrast(directions: ResidueDirections, activations: Activations) -> float:
    """How far apart the classes lie along their directions: the natural unit of the scale k."""
    table = activations.tokens.table
    rows = torch.tensor((table["task"] == "numbers").to_numpy()) & ~directions.held_out
    residue = torch.tensor(table["index"].to_numpy())[rows] % directions.modulus
    along = activations.x[rows] @ directions.vectors.T
    on = torch.nn.functional.one_hot(residue, directions.modulus).bool()
    per_class = torch.stack(
        [along[on[:, r], r].mean() - along[~on[:, r], r].mean() for r in range(directions.modulus)]
    )
    return float(per_class.mean())


def _split(readout: Readout, edits: Edits) -> np.ndarray:
    index = readout.index[edits.source]
    if readout.task != "numbers":
        return np.full(len(index), "other")
    conditions = [(index >= low) & (index < high) for low, high in DECADES]
    return np.select(conditions, ["20-59", "60-99"], "other")


def _deltas(
    directions: ResidueDirections, edits: Edits, control: str, generator: torch.Generator
) -> Float[Tensor, "edits d_model"]:
    vectors = directions.vectors
    if control == "permuted":
        shift = int(torch.randint(1, len(vectors), (1,), generator=generator))
        vectors = vectors.roll(shift, 0)
    delta = vectors[torch.as_tensor(edits.j)] - vectors[torch.as_tensor(edits.i)]
    if control == "random":
        noise = torch.randn(delta.shape, generator=generator)
        return noise * (delta.norm(dim=1) / noise.norm(dim=1))[:, None]
    return delta


def _best_scale(
    directions: ResidueDirections,
    activations: Activations,
    possible: Sequence[tuple[Readout, Edits]],
    decades: Sequence[tuple[int, int]],
    unit: float,
) -> float:
    """The multiple of the class contrast with most successes on fitted numbers of some decades.

    Of several that are equally good the middle one: the ends of a plateau are its edges.
    """
    successes = np.zeros(len(SCALES))
    for readout, everything in possible:
        if readout.task != "numbers":
            continue
        index = readout.index[everything.source]
        inside = np.any([(index >= low) & (index < high) for low, high in decades], axis=0)
        fitted = ~directions.held_out[readout.rows].numpy()[everything.source]
        edits = Edits(*(column[inside & fitted] for column in everything))
        vectors = directions.vectors
        delta = vectors[torch.as_tensor(edits.j)] - vectors[torch.as_tensor(edits.i)]
        base = readout.circuit.logits(activations.x[readout.rows[edits.source]])
        moved = readout.circuit.logits(delta)
        for at, scale in enumerate(SCALES):
            written = (base + scale * unit * moved).argmax(1).numpy()
            successes[at] += (written == edits.expected).sum()
    best = np.flatnonzero(successes == successes.max())
    return SCALES[int(best[len(best) // 2])]


def _apply(
    directions: ResidueDirections,
    activations: Activations,
    readout: Readout,
    edits: Edits,
    delta: Float[Tensor, "edits d_model"],
) -> dict[str, np.ndarray]:
    rows = readout.rows[edits.source]
    before = readout.circuit.logits(activations.x[rows])
    after = before + readout.circuit.logits(delta)
    written = after.argmax(1).numpy()
    change = after - before
    at = torch.arange(len(rows))
    gain = change[at, edits.expected] - change[at, readout.successor[edits.source]]
    index = readout.index[edits.source]
    return {
        "directions": np.full(len(rows), directions.source),
        "member": np.full(len(rows), directions.member),
        "task": np.full(len(rows), readout.task),
        "text": activations.tokens.table["text"].to_numpy(object)[rows.numpy()],
        "index": index,
        "i": edits.i,
        "j": edits.j,
        "target": index - edits.i + edits.j,
        "written": readout.index[written],
        "expected": readout.index[edits.expected],
        "success": written == edits.expected,
        "last_digit": readout.index[written] % 10 == readout.index[edits.expected] % 10,
        "logit_gain": gain.numpy(),
    }


def arithmetic_table(edits: pd.DataFrame, modulus: int = 10, *, seed: int = 0) -> pd.DataFrame:
    """Success by directions, task, split and control; carries (a source or target of m - 1) apart.

    Returns:
        `directions`, `task`, `split` (of numbers: `20-99`, the two halves, each with the other's
        scale, or `other numbers`; of words: `all`), `digits` (`0-8` or `carry`), `control`,
        `success` with its 95% interval, `last_digit`, `logit_gain`, `n_edits`, `n_tokens`.
    """
    carry = (edits["i"] == modulus - 1) | (edits["j"] == modulus - 1)
    keyed = edits.assign(
        digits=np.where(carry, "carry", f"0-{modulus - 2}"),
        split=np.select(
            [edits["task"] != "numbers", edits["split"] != "other"],
            ["all", "20-99"],
            "other numbers",
        ),
    )
    rows = []
    keys = ["directions", "task", "split", "digits", "control"]
    for key, part in keyed.groupby(keys, sort=False):
        result = bootstrap_means(
            part["success"].to_numpy(float)[None], part["index"].to_numpy(), seed=seed
        )
        (low,), (high,) = result.interval()
        rows.append(
            dict(zip(keys, key, strict=True))  # pyright: ignore[reportArgumentType]
            | {
                "success": result.estimate[0],
                "success_low": low,
                "success_high": high,
                "last_digit": part["last_digit"].mean(),
                "logit_gain": part["logit_gain"].mean(),
                "scale": part["scale"].median(),
                "n_edits": len(part),
                "n_tokens": part["text"].nunique(),
            }
        )
    return pd.DataFrame(rows)
