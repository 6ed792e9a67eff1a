"""Rival explanations of the edits: other features, other periods, and the luck of the choice."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

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


@dataclass(frozen=True)
class _AsFar(Add):
    """Moves M as far along directions of another kind as class means of the residues do."""

    reference: ResidueDirections

    @cached_property
    def contrast(self) -> float:
        return Add(self.reference, self.activations).contrast


def rival_table(
    activations: Activations,
    readouts: Sequence[Readout],
    modulus: int,
    latents: int,
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """The paper's edit with what might do as well as a feature for each residue.

    Each gets the scale that suits it best on the fitted tokens, as the features do. Directions that
    do not stand for residues are first made as long as the class means' edit.

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

    def success(operators: Sequence[Add], read: Sequence[Readout], modulus: int) -> pd.DataFrame:
        edits = operator_edits(operators, activations, read, controls=("none",), seed=seed)
        return arithmetic_table(edits, modulus, seed=seed)

    rivals: list[Add] = [
        _AsFar(tens, activations, means)
        for tens, means in zip(
            tens_directions(activations, modulus),
            class_mean_directions(activations, modulus),
            strict=True,
        )
    ]
    chosen = random_directions(activations, modulus, latents, seed=seed)
    rivals += [Add(one, activations) for one in chosen]
    tables = [success(rivals, readouts, modulus)]
    for period in dict.fromkeys(PERIODS.values()):
        words = [readout for readout in readouts if PERIODS.get(readout.task) == period]
        if words and period != modulus:
            means = class_mean_directions(activations, period)
            named = [replace(one, source=f"class means mod {period}") for one in means]
            tables.append(success([Add(one, activations) for one in named], words, period))
    return pd.concat(tables, ignore_index=True)
