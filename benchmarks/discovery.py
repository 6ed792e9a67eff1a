"""What labelling a catalog costs: max-T over every family, against SciPy's test feature by feature.

    python benchmarks/discovery.py

Both test the same features against the same families with as many permutations, one after the
other in one process. SciPy's `permutation_test` takes one feature and one family at a time; it is
timed on a few features and the rest is extrapolated. It knows no strata, so its permutations are of
all units, which is no more work.
"""

import resource
from dataclasses import dataclass

import numpy as np
import pandas as pd
import tyro
from rich.console import Console
from rich.table import Table
from scipy.stats import permutation_test

from benchmarks.timing import timed
from features.discovery import FAMILIES, Features, discover
from features.hypotheses.family import Family
from lm.ordinals import FOLDS, assign_folds

WORDS = {"number_words": 20, "ordinal_words": 10, "days": 7, "months": 12, "letters": 26}


@dataclass(frozen=True)
class Options:
    """What labelling costs."""

    features: int = 10_000
    """Features to label, a fifth of them residues."""
    numbers: int = 500
    """Last number."""
    permutations: int = 1000
    """For every feature and family."""
    peer: int = 3
    """Features that SciPy is timed on."""


def main(options: Options) -> None:
    table = token_table(options.numbers)
    values = made_up_features(table, options.features)
    features = [
        Features(values[:, fold::FOLDS], (table["fold"] == fold).to_numpy(), fold)
        for fold in range(FOLDS)
    ]
    found, ours = timed(lambda: discover(features, table, permutations=options.permutations))
    families = [
        family.restrict(~features[0].held_out)
        for make in FAMILIES
        if (family := make(table)) is not None
    ]
    few = features[0].values[:, : options.peer]
    _, theirs = timed(lambda: scipy_p_values(families, few, options.permutations))
    theirs = [seconds * options.features / options.peer for seconds in theirs]
    grid = Table(title=f"{options.features:,} features, {options.permutations:,} permutations")
    for heading in ("", "wall s", "CPU s"):
        grid.add_column(heading, justify="left" if not heading else "right")
    grid.add_row("discover (max-T, labels, confirmation)", *(f"{s:.1f}" for s in ours))
    grid.add_row("SciPy, feature by feature (p-values alone)", *(f"{s:,.0f}" for s in theirs))
    grid.add_row("ratio", *(f"{b / a:,.0f}x" for a, b in zip(ours, theirs, strict=True)))
    Console().print(grid)
    hypotheses = sum(len(family.hypotheses) for family in families)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    print(
        f"{len(table)} tokens, {len(families)} families, {hypotheses} hypotheses; "
        f"{(found['label'] != 'neither').mean():.1%} labelled; {peak:.1f} GiB at most. SciPy: "
        f"{options.peer} features timed, the rest extrapolated."
    )


def token_table(last: int) -> pd.DataFrame:
    """Numbers in two spellings, and some word tasks."""
    rows = []
    for task, size in {"numbers": last, **WORDS}.items():
        folds = assign_folds(list(range(1, size + 1)), seed=0)
        forms = ("space", "bare") if task == "numbers" else ("space lower", "space capital")
        rows += [(task, i, form, folds[i], False) for form in forms for i in folds]
    return pd.DataFrame(rows, columns=["task", "index", "form", "fold", "held_out_task"])


def made_up_features(table: pd.DataFrame, count: int) -> np.ndarray:
    """Sparse noise, and one residue feature in five."""
    rng = np.random.default_rng(0)
    values = rng.random((len(table), count)) * (rng.random((len(table), count)) < 0.1)
    number = (table["task"] == "numbers").to_numpy()
    for latent in range(0, count, 5):
        on = number & (table["index"].to_numpy() % 10 == latent // 5 % 10)
        values[:, latent] = on * (1 + 0.2 * rng.random(len(table)))
    return values


def scipy_p_values(families: list[Family], values: np.ndarray, permutations: int) -> list[float]:
    """One feature and one family at a time."""
    out = []
    for family in families:
        weights, units = family.weights(), family.units(values)
        for feature in units.T:
            test = permutation_test(
                (feature,),
                lambda x, w=weights: (w @ x).max(),
                permutation_type="pairings",
                n_resamples=permutations,
                vectorized=False,
                alternative="greater",
                rng=0,
            )
            out.append(float(test.pvalue))
    return out


if __name__ == "__main__":
    main(tyro.cli(Options))
