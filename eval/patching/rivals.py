"""Rival explanations of the edits: other features, other periods, and the luck of the choice."""

from collections.abc import Sequence
from dataclasses import replace

import pandas as pd

from eval.patching.arithmetic import arithmetic_table
from eval.patching.edits import operator_edits
from eval.patching.operators import Add
from eval.patching.readout import Readout
from features.directions import (
    ResidueDirections,
    class_mean_directions,
    random_directions,
    tens_directions,
)
from training.activations import Activations

PERIODS = {"days": 7, "day_prefixes": 7, "months": 12, "month_prefixes": 12}
"""Words that come round: were their numbers counted in their own period, its class means would
edit them, and those of 10 would not."""


def rival_table(
    activations: Activations,
    readouts: Sequence[Readout],
    modulus: int,
    latents: int,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """The paper's edit with what might do as well as a feature for each residue.

    Each gets the scale that suits it best on the fitted tokens, as the features do.

    Args:
        activations: M(t).
        readouts: of the chosen head.
        modulus: of the features.
        latents: of an SAE: as many random directions are there to choose from.
        seed: of the random directions.

    Returns:
        What `arithmetic_table` gives, without controls, for `directions` `tens digits`, `random
        dictionary`, and class means of the numbers modulo each of `PERIODS`, in its tasks alone.
    """

    def success(
        sets: Sequence[ResidueDirections], read: Sequence[Readout], modulus: int
    ) -> pd.DataFrame:
        operators = [Add(directions, activations) for directions in sets]
        edits = operator_edits(operators, activations, read, controls=("none",), seed=seed)
        return arithmetic_table(edits, modulus, seed=seed)

    rivals = tens_directions(activations, modulus)
    rivals += random_directions(activations, modulus, latents, seed=seed)
    tables = [success(rivals, readouts, modulus)]
    for period in dict.fromkeys(PERIODS.values()):
        words = [readout for readout in readouts if PERIODS.get(readout.task) == period]
        if words and period != modulus:
            means = class_mean_directions(activations, period)
            named = [replace(one, source=f"class means mod {period}") for one in means]
            tables.append(success(named, words, period))
    return pd.concat(tables, ignore_index=True)
