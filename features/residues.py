"""Does a latent stand for the numbers that leave the residue r modulo m? (section 3.1)"""

from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float

from lm.ordinals import OrdinalTokens

GOOD = 0.8
"""Precision and recall that a residue feature needs, each in its worst spelling."""
MIN_NUMBERS = 8
"""Distinct numbers that every residue needs before a modulus is tested."""


def testable(tokens: OrdinalTokens, modulus: int) -> str | None:
    """None when the modulus can be tested; otherwise why not, in words."""
    table = tokens.table
    numbers = np.unique(table.loc[table["task"] == "numbers", "index"])
    fewest = np.bincount(numbers % modulus, minlength=modulus).min() if len(numbers) else 0
    if fewest >= MIN_NUMBERS:
        return None
    return (
        f"modulus {modulus} is not testable: some residue has {fewest} numbers that are single "
        f"tokens, {MIN_NUMBERS} are needed"
        + (" (this tokenizer splits numbers into digits)" if len(numbers) <= 10 else "")
    )


class ResidueFit(NamedTuple):
    """Each latent against each residue, in its worst spelling."""

    precision: Float[np.ndarray, "latents modulus"]
    recall: Float[np.ndarray, "latents modulus"]

    @property
    def f1(self) -> Float[np.ndarray, "latents modulus"]:
        total = self.precision + self.recall
        return np.where(total > 0, 2 * self.precision * self.recall / np.maximum(total, 1e-12), 0)

    @property
    def good(self) -> Bool[np.ndarray, "latents modulus"]:
        return (self.precision >= GOOD) & (self.recall >= GOOD)


def fit_residues(
    active: Bool[np.ndarray, "numbers latents"], numbers: pd.DataFrame, modulus: int
) -> ResidueFit:
    """Precision and recall of every latent for every residue, over number tokens.

    Args:
        active: one row per number token.
        numbers: the tokens' rows (`index`, `form`). The worst of the spellings counts, so that a
            latent which knows `12` but not ` 12` is no feature of the number.
    """
    precisions, recalls = [], []
    for _, rows in numbers.reset_index(drop=True).groupby("form"):
        fired = active[rows.index].astype(float)
        member = np.eye(modulus)[rows["index"].to_numpy() % modulus]
        hits = fired.T @ member
        precisions.append(hits / np.maximum(fired.sum(0), 1)[:, None])
        recalls.append(hits / np.maximum(member.sum(0), 1))
    return ResidueFit(np.min(precisions, axis=0), np.min(recalls, axis=0))
