"""Residues: the feature stands for the numbers that leave r modulo m (section 3.1).

Null: numbers change places within bands twice as wide as the largest modulus, all spellings of one
together. A band keeps a number near its size, so that magnitude is no evidence for a residue; one
width for all moduli lets the largest score over them be compared with the permuted largest.
"""

from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Float, Int

from features.hypotheses.family import Family, Hypothesis
from features.permutation import permutation_p_values
from features.residues import MIN_NUMBERS

MODULI = (*range(2, 13), 20, 25, 50, 100)
"""Those that are tried, where every residue has at least `MIN_NUMBERS` distinct numbers."""
BAND_IN_MODULI = 2
"""Width of the bands, in largest moduli."""
MULTIPLE = 0.05
"""p-value at which a multiple of a modulus is preferred to it."""


def residue_family(table: pd.DataFrame) -> Family | None:
    """`mod<m>/<r>` for each testable modulus; None where there is none."""
    rows = np.flatnonzero(table["task"] == "numbers")
    numbers, unit = np.unique(table["index"].to_numpy()[rows], return_inverse=True)
    moduli = [m for m in MODULI if np.bincount(numbers % m, minlength=m).min() >= MIN_NUMBERS]
    if not moduli:
        return None
    _, band = np.unique(numbers // (BAND_IN_MODULI * moduli[-1]), return_inverse=True)
    return Family(
        "residue",
        [Hypothesis(f"mod{m}/{r}", m, r) for m in moduli for r in range(m)],
        rows,
        unit,
        stratum=band,
        block=np.zeros(len(numbers), dtype=int),
        contrasts=np.concatenate([np.eye(m)[:, numbers % m] for m in moduli]),
        home=np.zeros(sum(moduli), dtype=int),
    )


def simplest_modulus(
    family: Family,
    values: Float[np.ndarray, "tokens latents"],
    best: Int[np.ndarray, " latents"],
    *,
    seed: int = 0,
) -> Int[np.ndarray, " latents"]:
    """The smallest modulus that does each feature justice.

    A residue modulo k m is kept only if its score is more than chance when numbers are permuted
    within the classes modulo m; otherwise the feature cannot tell those numbers apart.

    Args:
        family: over the fitted tokens.
        values: of the features.
        best: each feature's hypothesis.
    """
    place = {(h.modulus, h.residue): i for i, h in enumerate(family.hypotheses)}
    out = best.copy()
    for h in np.unique(best):
        _, modulus, residue, _ = family.hypotheses[h]
        latents = np.flatnonzero(best == h)
        for divisor in (d for d in range(2, modulus) if modulus % d == 0 and (d, 0) in place):
            first = place[divisor, 0]
            class_of = family.contrasts[first : first + divisor].argmax(0)
            _, stratum = np.unique(family.stratum * divisor + class_of, return_inverse=True)
            null = replace(family.select([h]), stratum=stratum)
            p = permutation_p_values(null, values[:, latents], seed=seed)
            out[latents[p > MULTIPLE]] = place[divisor, residue % divisor]
            latents = latents[p <= MULTIPLE]
            if not len(latents):
                break
    return out
