"""Can n mod m be read off M(t) where nothing was fitted? A ridge probe, fold by fold."""

from typing import NamedTuple

import numpy as np
import torch

from features.directions import ridge_probe
from features.statistics import bootstrap_means, shuffled_indices
from features.structure.geometry import BAND_IN_PERIODS
from lm.ordinals import FOLDS
from training.activations import Activations


class ProbeAccuracy(NamedTuple):
    """How often the probe names the residue of a number that it was not fitted on."""

    accuracy: float
    low: float
    """Of the 95% interval over numbers, the spellings of one together."""
    high: float
    permuted: float
    """The same with the numbers' residues permuted within bands: mean over permutations."""
    permuted_95: float
    """Their 95th percentile."""
    chance: float
    """What naming the commonest residue gets."""
    n_tokens: int


def probe_accuracy(
    activations: Activations, modulus: int, *, permutations: int = 200, seed: int = 0
) -> ProbeAccuracy:
    """Held-out accuracy of a ridge probe of n mod m on M(t) (section 3.2), over all folds.

    Each number is judged by the probe that was fitted without its fold. The control fits and
    judges probes of the residues of other numbers of a similar size. It may lie below 1/m: a band
    holds each residue twice, so what a number's neighbours have, it is less likely to have.

    Args:
        activations: M(t); its numbers count.
        modulus: m. Every residue needs numbers in every fold (`features.residues.testable`).
        permutations: behind the control.
        seed: of the permutations and of the interval.
    """
    table = activations.tokens.table
    numbers = (table["task"] == "numbers").to_numpy(copy=True)
    x, index = activations.x[torch.as_tensor(numbers)], table.loc[numbers, "index"].to_numpy()
    shuffled = shuffled_indices(index, BAND_IN_PERIODS * modulus, permutations, seed)
    residues = np.concatenate([index[None], shuffled]) % modulus
    hits = np.zeros(residues.shape)
    for fold in range(FOLDS):
        test = activations.held_out(fold)[numbers]
        one_hot = np.eye(modulus)[residues[:, ~test]]
        target = one_hot.transpose(1, 0, 2).reshape(int((~test).sum()), -1)
        fitted = x[torch.as_tensor(~test)]
        weights = ridge_probe(fitted, target)
        scores = (x[torch.as_tensor(test)] - fitted.mean(0)) @ weights.T
        scores += torch.as_tensor(target.mean(0), dtype=scores.dtype)
        named = scores.reshape(int(test.sum()), len(residues), modulus).argmax(2).T.numpy()
        hits[:, test] = named == residues[:, test]
    found = bootstrap_means(hits[:1], index, seed=seed)
    (low,), (high,) = found.interval()
    by_chance = hits[1:].mean(1)
    return ProbeAccuracy(
        accuracy=float(found.estimate[0]),
        low=float(low),
        high=float(high),
        permuted=float(by_chance.mean()),
        permuted_95=float(np.percentile(by_chance, 95)),
        chance=float(np.bincount(index % modulus).max() / len(index)),
        n_tokens=found.n_rows,
    )
