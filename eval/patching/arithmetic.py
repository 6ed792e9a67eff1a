"""What edits come to: vector arithmetic (section 3.3), and the other operators beside it."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from eval.patching.edits import operator_edits
from eval.patching.operators import Add
from eval.patching.readout import Readout
from features.directions import ResidueDirections, check_directions
from features.statistics import bootstrap_means
from training.activations import Activations


def arithmetic_edits(
    sets: Sequence[ResidueDirections],
    activations: Activations,
    readouts: Sequence[Readout],
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """The paper's edit under each set of directions: `operator_edits` by `Add` alone.

    Raises:
        OrdinalError: the directions are not of these activations, or no edit can be tested.
    """
    check_directions(sets, activations)
    operators = [Add(directions, activations) for directions in sets]
    return operator_edits(operators, activations, readouts, seed=seed)


def arithmetic_table(edits: pd.DataFrame, modulus: int = 10, *, seed: int = 0) -> pd.DataFrame:
    """Success by operator, directions, task, split and control; carries apart.

    A carry has a source or target of m - 1.

    Args:
        edits: what `operator_edits` gives.
        modulus: of the residues.
        seed: of the bootstrap: over sources or over targets, whichever tells less.

    Returns:
        `operator`, `directions`, `task`, `split` (of numbers: `20-99`, the two halves, each with
        the other's scale, or `other numbers`; of words: `all`), `digits` (`0-8` or `carry`),
        `control`, `success` with its 95% interval, `fitted` (success where the scales were chosen),
        `last_digit`, `logit_gain`, `scale` and `rank` (medians), `n_edits`, `n_tokens`.
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
    keys = ["operator", "directions", "task", "split", "digits", "control"]
    for key, part in keyed.groupby(keys, sort=False):
        success = part["success"].to_numpy(float)[None]
        by_element = [
            bootstrap_means(success, part[end].to_numpy(), seed=seed).interval()[:, 0]
            for end in ("index", "target")
        ]
        low, high = max(by_element, key=np.ptp)
        rows.append(
            dict(zip(keys, key, strict=True))  # pyright: ignore[reportArgumentType]
            | {
                "success": part["success"].mean(),
                "success_low": low,
                "success_high": high,
                "fitted": part["fitted"].mean(),
                "last_digit": part["last_digit"].mean(),
                "logit_gain": part["logit_gain"].mean(),
                "scale": part["scale"].median(),
                "rank": int(part["rank"].median()),
                "n_edits": len(part),
                "n_tokens": part["text"].nunique(),
            }
        )
    return pd.DataFrame(rows)


def headline_edits(arithmetic: pd.DataFrame, operator: str | None = "add") -> pd.DataFrame:
    """The rows that count: without carries; numbers where the scale was chosen on other decades.

    Args:
        arithmetic: what `arithmetic_table` gives.
        operator: the paper's edit; None for all.
    """
    counts = (arithmetic["digits"] != "carry") & (arithmetic["split"] != "other numbers")
    return arithmetic[counts & ((arithmetic["operator"] == operator) | (operator is None))]
