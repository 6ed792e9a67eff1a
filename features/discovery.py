"""The simplest tested hypothesis for each feature: chosen on fitted tokens, confirmed on others.

1. *Significant*: the feature's largest score in the family is not reached by permutations (max-T),
   corrected over all features and families (Benjamini and Hochberg).
2. *Explains*: the family's best hypothesis predicts at least half of the feature's variance, over
   fitted tokens, each fold from the others. Of families that do nearly as well, the simplest.
3. *Simplest modulus*: a multiple of m is kept only if it beats permutations within the classes
   modulo m.
4. *Confirmed*: on tokens that played no part so far, the same hypothesis predicts, and its score is
   not reached by permutations of those tokens (corrected over the features that got this far).
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from features.hypotheses.digit import digit_family
from features.hypotheses.explained import left_out_r2, moments
from features.hypotheses.family import Family
from features.hypotheses.form import form_family
from features.hypotheses.order import SHARED, order_family, order_is_shared
from features.hypotheses.residue import residue_family, simplest_modulus
from features.hypotheses.task import task_family
from features.permutation import Prepared, max_t_p_values, permutation_p_values
from features.statistics import benjamini_hochberg
from lm.ordinals import FOLDS

FAMILIES: tuple[Callable[[pd.DataFrame], Family | None], ...] = (
    form_family,
    task_family,
    order_family,
    digit_family,
    residue_family,
)
"""From the simplest."""
LEVEL = 0.05
"""False-discovery rate of labels, and of their confirmation."""
EXPLAINS = 0.5
"""Share of a feature's variance that its hypothesis must predict."""
NEARLY = 0.05
"""Share of the variance by which a simpler family may do worse."""
NEITHER = "neither"
"""The label of a feature that no hypothesis holds for."""


class Features(NamedTuple):
    """Some features' activity, and the tokens that they were not fitted on."""

    values: Float[np.ndarray, "tokens latents"]
    held_out: Bool[np.ndarray, " tokens"]
    fold: int
    """The fold that `held_out` holds."""


def discover(
    features: Sequence[Features], table: pd.DataFrame, *, permutations: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """Each feature's label and the evidence for it.

    Args:
        features: features that share their held-out tokens together; labelled in this order.
        table: the tokens' rows (`task`, `index`, `form`, `fold`, `held_out_task`).
        permutations: at least so many behind each p-value.
        seed: of the permutations.

    Returns:
        One row per feature: `label`; `best`, the hypothesis that explains most, whether or not it
        holds, with its `family`, `modulus`, `residue` and `sign`; `r2` (fitted tokens, each fold
        predicted from the others) and `r2_held_out` (NaN where the held-out tokens are all alike to
        it); `q_value`, of the family's largest score; `p_held_out` and `q_held_out`, of the
        hypothesis (NaN where it explains too little to be tested); `n_tokens`, held out, that the
        hypothesis is about; and `p_<family>` for each family.
    """
    families = [family for make in FAMILIES if (family := make(table)) is not None]
    names = [family.name for family in families]
    tests = [
        Prepared.of(family.restrict(~some.held_out), some.values)
        for some in features
        for family in families
    ]
    found = max_t_p_values(tests, permutations=permutations, level=LEVEL, seed=seed)
    p = np.concatenate(
        [np.stack(found[i : i + len(names)]) for i in range(0, len(found), len(names))], axis=1
    )
    q = _corrected(p)
    out, first = [], 0
    for some in features:
        here = slice(first, first := first + some.values.shape[1])
        out.append(_explain(some, families, table, q[:, here], seed))
    rows = pd.concat(out, ignore_index=True)
    rows["q_held_out"] = np.nan
    tested = rows["p_held_out"].notna()
    rows.loc[tested, "q_held_out"] = benjamini_hochberg(rows.loc[tested, "p_held_out"].to_numpy())
    confirmed = (rows["q_held_out"] <= LEVEL) & (rows["r2_held_out"] > 0)
    rows.insert(0, "label", rows["best"].where(confirmed, NEITHER))
    return rows.join(pd.DataFrame(p.T, columns=[f"p_{name}" for name in names]))


def _corrected(p: Float[np.ndarray, "families latents"]) -> Float[np.ndarray, "families latents"]:
    """q-values over features and families; a dead feature is no test."""
    alive = np.broadcast_to((p < 1).any(0), p.shape)
    q = np.ones_like(p)
    q[alive] = benjamini_hochberg(p[alive])
    return q


def _explain(
    features: Features,
    families: list[Family],
    table: pd.DataFrame,
    q: Float[np.ndarray, "families latents"],
    seed: int,
) -> pd.DataFrame:
    """The hypothesis of each of some features, and its confirmation."""
    values, held_out, fold = features
    part = np.where(held_out, fold, table["fold"].to_numpy())
    fitted = [f for f in range(FOLDS) if f != fold]
    sums = [moments(family, values, part, FOLDS) for family in families]
    r2 = [
        np.nan_to_num(left_out_r2(family, of, fitted, fitted))
        for family, of in zip(families, sums, strict=True)
    ]
    most = np.stack([each.max(0) for each in r2])
    good = (q <= LEVEL) & (most >= EXPLAINS)
    nearly = good & (most >= np.where(good, most, -np.inf).max(0) - NEARLY)
    chosen = np.where(good.any(0), nearly.argmax(0), most.argmax(0))
    parts = []
    for number, family in enumerate(families):
        latents = np.flatnonzero(chosen == number)
        if not len(latents):
            continue
        mine, tested = values[:, latents], good[:, latents].any(0)
        known, new = family.restrict(~held_out), family.restrict(held_out)
        best = _strongest(r2[number][:, latents], known.scores(mine))
        if family.name == "residue":
            best = np.where(tested, simplest_modulus(known, mine, best, seed=seed), best)
        names = np.array([family.hypotheses[b].label for b in best], dtype=object)
        if family.name == "order":
            names[tested & order_is_shared(known, mine, best, seed=seed)] = SHARED
        new_r2 = left_out_r2(family, sums[number], [fold], range(FOLDS))[best, latents]
        p_new = np.full(len(latents), np.nan)
        for h in np.unique(best[tested]):
            those = np.flatnonzero(tested & (best == h))
            p_new[those] = permutation_p_values(new.select([h]), mine[:, those], seed=seed)
        parts.append(
            pd.DataFrame(
                {
                    "best": names,
                    "family": family.name,
                    "modulus": [family.hypotheses[b].modulus for b in best],
                    "residue": [family.hypotheses[b].residue for b in best],
                    "sign": [family.hypotheses[b].sign for b in best],
                    "r2": r2[number][best, latents],
                    "r2_held_out": new_r2,
                    "q_value": q[number, latents],
                    "p_held_out": p_new,
                    "n_tokens": np.bincount(new.block[new.unit], minlength=family.home.max() + 1)[
                        family.home[best]
                    ],
                },
                index=latents,
            )
        )
    return pd.concat(parts).sort_index()


def _strongest(
    r2: Float[np.ndarray, "hypotheses latents"], scores: Float[np.ndarray, "hypotheses latents"]
) -> Int[np.ndarray, " latents"]:
    """Of the hypotheses that explain nearly as much as the best, the one with the largest score.

    Where several do, as the order of each task under a shared direction, it is the one that most
    tokens speak for.
    """
    return np.where(r2 >= r2.max(0) - NEARLY, scores, -np.inf).argmax(0)
