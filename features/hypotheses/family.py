"""What all hypotheses about a feature have in common: a contrast over tokens, and a null.

A *family* is a set of hypotheses about one property of tokens (the residue, the place in the order,
the task, ...). Each hypothesis is a number for every *unit*: an element with all its spellings
together, a decade, or a single token. Under the family's null, units of one *stratum* could change
places. The score of a hypothesis is the correlation of a feature with it, among units of a stratum,
times the square root of the degrees of freedom: about standard normal under the null, whatever the
family, so that the largest score of a family can be compared with the largest of the permuted ones
(max-T, Westfall and Young 1993).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from scipy.sparse import csr_array

CONSTANT = 1e-6
"""Relative size below which variation is rounding."""


class Hypothesis(NamedTuple):
    """One label that a feature may get."""

    label: str
    """`mod10/3`, `tens/4`, `ordinal/numbers`, `interval/40-59`, `task/days`, `form/space`, ..."""
    modulus: int = 0
    """Of a residue; 0 elsewhere."""
    residue: int = 0
    sign: int = 1
    """-1 where a feature falls as the contrast rises: only order has both."""


@dataclass(frozen=True)
class Family:
    """Hypotheses about one property, over the tokens that it can be tested on."""

    name: str
    hypotheses: list[Hypothesis]
    rows: Int[np.ndarray, " rows"]
    """The tokens that the family is about: rows of the token table."""
    unit: Int[np.ndarray, " rows"]
    """Each token's unit, from 0 without gaps."""
    stratum: Int[np.ndarray, " units"]
    """Units of one stratum are exchangeable under the null; numbered from 0 without gaps."""
    block: Int[np.ndarray, " units"]
    """Each hypothesis is about the units of one block, a union of strata."""
    contrasts: Float[np.ndarray, "hypotheses units"]
    """What each hypothesis predicts, up to scale and shift; zero outside its block."""
    home: Int[np.ndarray, " hypotheses"]
    """The block of each hypothesis."""

    def restrict(self, keep: Bool[np.ndarray, " tokens"]) -> "Family":
        """The same hypotheses, over the tokens of the mask alone."""
        chosen = keep[self.rows]
        units, unit = np.unique(self.unit[chosen], return_inverse=True)
        _, stratum = np.unique(self.stratum[units], return_inverse=True)
        return replace(
            self,
            rows=self.rows[chosen],
            unit=unit,
            stratum=stratum,
            block=self.block[units],
            contrasts=self.contrasts[:, units],
        )

    def select(self, which: Sequence[int] | Int[np.ndarray, " some"]) -> "Family":
        """Some of the hypotheses, over the same tokens."""
        chosen = np.asarray(which, dtype=int)
        return replace(
            self,
            hypotheses=[self.hypotheses[i] for i in chosen],
            contrasts=self.contrasts[chosen],
            home=self.home[chosen],
        )

    def units(self, values: Float[np.ndarray, "tokens latents"]) -> Float[np.ndarray, "u latents"]:
        """Mean of each unit, as deviation from its stratum's mean, of norm one in each block."""
        sums = _sums(values[self.rows], self.unit)
        return self._standardised(sums / np.bincount(self.unit)[:, None])

    @property
    def freedom(self) -> Int[np.ndarray, " hypotheses"]:
        """Degrees of freedom: units of the hypothesis's block less strata."""
        _, first = np.unique(self.stratum, return_index=True)
        blocks = max(self.home.max(), self.block.max()) + 1
        units, strata = (np.bincount(b, minlength=blocks) for b in (self.block, self.block[first]))
        return (units - strata)[self.home]

    def weights(self) -> Float[np.ndarray, "hypotheses units"]:
        """What a feature's `units` are multiplied with to give the scores."""
        by_unit = np.where(self.home[:, None] == self.block, self.contrasts, 0).T
        sign = np.array([hypothesis.sign for hypothesis in self.hypotheses])
        return self._standardised(by_unit).T * (sign * np.sqrt(self.freedom))[:, None]

    def scores(
        self, values: Float[np.ndarray, "tokens latents"]
    ) -> Float[np.ndarray, "hypotheses latents"]:
        """Each feature's score under each hypothesis; zero where the feature is constant."""
        return self.weights() @ self.units(values)

    def _standardised(self, x: Float[np.ndarray, "units k"]) -> Float[np.ndarray, "units k"]:
        deviation = x - (_sums(x, self.stratum) / np.bincount(self.stratum)[:, None])[self.stratum]
        norm = np.sqrt(_sums(deviation**2, self.block))
        # What rounding leaves of a constant is no variation.
        varies = norm > CONSTANT * np.sqrt(_sums(x**2, self.block))
        return deviation / np.where(varies, norm, np.inf)[self.block]

    def permutations(self, count: int, rng: np.random.Generator) -> Int[np.ndarray, "count units"]:
        """Units shuffled within their strata: a permuted feature is `units[permutation]`."""
        shuffled = np.argsort(self.stratum + rng.random((count, len(self.stratum))), axis=1)
        out = np.empty_like(shuffled)
        out[:, np.argsort(self.stratum, kind="stable")] = shuffled
        return out


def _sums(x: Float[np.ndarray, "units k"], group: np.ndarray) -> Float[np.ndarray, "groups k"]:
    return csr_array((np.ones(len(x)), (group, np.arange(len(x))))) @ x
