"""Max-T permutation tests of many features against a family of hypotheses, in a few products.

A feature's p-value in a family is how often the largest of its scores over all hypotheses is
reached when the units are permuted (Westfall and Young 1993): the choice of the hypothesis is paid
for. Many permutations make one product: of permuted contrasts with the features, or the other way
round, whichever are fewer.
"""

from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor
from tqdm import tqdm

from features.hypotheses.family import Family

AT_ONCE = 4_000_000
"""Scores held at once: 16 MB."""
ROUNDING = 1e-5
"""Relative difference of two scores below which they are the same."""
GIVE_UP = 10
"""Permutations that reach a feature's score after which no more are drawn for it."""
MORE = 4
"""Factor by which the permutations grow from round to round."""


class Prepared(NamedTuple):
    """One family over the fitted tokens of some features."""

    weights: Float[Tensor, "hypotheses units"]
    units: Float[Tensor, "units latents"]
    family: Family

    @classmethod
    def of(cls, family: Family, values: Float[np.ndarray, "tokens latents"]) -> "Prepared":
        """Of features over the tokens that the family is restricted to."""
        return cls(
            torch.from_numpy(family.weights()).float(),
            torch.from_numpy(family.units(values)).float(),
            family,
        )

    def largest(self) -> Float[Tensor, " latents"]:
        """Each feature's largest score."""
        return (self.weights @ self.units).amax(0)

    def reached(
        self, latents: Int[np.ndarray, " some"], count: int, rng: np.random.Generator
    ) -> Int[np.ndarray, " some"]:
        """In how many of `count` permutations the features' largest scores are reached."""
        units = self.units[:, torch.from_numpy(latents)]
        observed = (self.weights @ units).amax(0) * (1 - ROUNDING)
        hypotheses, size = self.weights.shape
        few = len(latents) < hypotheses
        each = max(hypotheses * len(latents), size * min(hypotheses, len(latents)))
        out = torch.zeros(len(latents), dtype=torch.int64)
        left = count
        while left:
            draws = min(left, max(1, AT_ONCE // each))
            order = torch.from_numpy(self.family.permutations(draws, rng))
            if few:
                shuffled = units[order].transpose(0, 1).reshape(size, -1)
                largest = (self.weights @ shuffled).amax(0).view(draws, -1)
            else:
                shuffled = self.weights[:, order].transpose(0, 1).reshape(-1, size)
                largest = (shuffled @ units).view(draws, hypotheses, -1).amax(1)
            out += (largest >= observed).sum(0)
            left -= draws
        return out.numpy()


def max_t_p_values(
    tests: list[Prepared], *, permutations: int, level: float, seed: int
) -> list[Float[np.ndarray, " latents"]]:
    """Each feature's p-value in each test, as finely as a correction at `level` needs.

    `permutations` are drawn for every feature. More are drawn, up to a resolution of `level` over
    the number of tests, for features whose score is hardly ever reached, until Benjamini and
    Hochberg's procedure could accept all that are never reached.

    Args:
        tests: one per family and set of features.
        permutations: for all features.
        level: false-discovery rate that the p-values will be corrected for.
        seed: of the permutations.
    """
    sizes = [test.units.shape[1] for test in tests]
    alive = [np.flatnonzero(test.largest().numpy() > 0) for test in tests]
    n_tests = sum(map(len, alive))
    rng = np.random.default_rng(seed)
    drawn, round_of = [np.zeros(size, dtype=int) for size in sizes], permutations
    hits = [np.zeros(size, dtype=int) for size in sizes]
    with tqdm(desc="permuting", leave=False, delay=2, disable=None, unit="test") as bar:
        while any(map(len, alive)):
            bar.reset(sum(map(len, alive)))
            for test, those, n, reached in zip(tests, alive, drawn, hits, strict=True):
                if len(those):
                    reached[those] += test.reached(those, round_of, rng)
                    n[those] += round_of
                bar.update(len(those))
            unreached = sum(int((h[a] == 0).sum()) for h, a in zip(hits, alive, strict=True))
            total = max(int(n.max(initial=0)) for n in drawn)
            if unreached == 0 or (1 + total) * level * unreached >= n_tests:
                break
            alive = [a[h[a] < GIVE_UP] for h, a in zip(hits, alive, strict=True)]
            round_of = (MORE - 1) * total
    return [np.where(n > 0, (1 + h) / (1 + n), 1.0) for h, n in zip(hits, drawn, strict=True)]


def permutation_p_values(
    family: Family,
    values: Float[np.ndarray, "tokens latents"],
    *,
    permutations: int = 1000,
    seed: int = 0,
) -> Float[np.ndarray, " latents"]:
    """Each feature's p-value in one family, over the tokens that it is restricted to."""
    everything = np.arange(values.shape[1])
    hits = Prepared.of(family, values).reached(
        everything, permutations, np.random.default_rng(seed)
    )
    return (1 + hits) / (1 + permutations)
