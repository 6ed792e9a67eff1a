"""Dictionaries side by side: what each finds, and what its directions do through the head.

An SAE earns its place where it does better than dictionaries that were not learnt, or learnt
otherwise. All go through the same discovery, the same edits and the same ablation.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from jaxtyping import Float

from eval.dictionaries.frontier import quality
from eval.patching.ablation import ablation_table
from eval.patching.arithmetic import arithmetic_edits
from eval.patching.readout import Readout
from eval.scorecard.features import residue_claims
from features.activity import latent_activity
from features.directions import sae_directions
from features.labels import label_table
from features.residue_table import residue_table
from features.statistics import bootstrap_means, clusters
from sae.ensemble import SAEEnsemble
from training.activations import Activations

DRAWS = 1000


@dataclass(frozen=True)
class Measured:
    """One dictionary."""

    row: dict[str, float | int | str]
    residues: Float[np.ndarray, " members"]
    """Residues that some latent is labelled with, by member."""
    edits: pd.DataFrame
    """Of `arithmetic_edits`, those that count: no carries; numbers from 20 to 99, and words."""


def measure(
    name: str,
    ensemble: SAEEnsemble,
    activations: Activations,
    readouts: Sequence[Readout],
    *,
    modulus: int = 10,
    permutations: int = 1000,
    random_subspaces: int = 20,
    seed: int = 0,
) -> Measured:
    """Put one dictionary through discovery, edits and ablation.

    Args:
        name: of the dictionary, for the table.
        ensemble: its members; they hold out folds as the SAEs that it is compared with.
        readouts: of the successor head.
        modulus: of the residues; it must be testable on these tokens.
        permutations: behind each label's p-value, at least.
        random_subspaces: controls of matched variance for each member's ablation.
        seed: of the bootstrap and the controls.
    """
    activity = latent_activity(ensemble, activations)
    labels = label_table(ensemble, activations, activity, permutations=permutations, seed=seed)
    residues, control = _labelled_residues(labels, modulus, len(ensemble))
    sets = [
        replace(one, source=name)
        for one in sae_directions(ensemble, activity, activations, modulus)
    ]
    ablation = ablation_table(
        sets, activations, readouts, random_subspaces=random_subspaces, seed=seed
    )
    ablation = ablation[ablation["ablation"] == "mean"].set_index("removed")
    edits = _that_count(arithmetic_edits(sets, activations, readouts, seed=seed), modulus)
    share = bootstrap_means(residues[None] / modulus, np.arange(len(residues)), seed=seed)
    low, high = modulus * share.interval()[:, 0]
    held_out = residue_claims(residue_table(activations, activity, modulus), modulus, seed=seed)[1]
    fits = pd.DataFrame(
        [
            quality(sae, activations, fold)
            for sae, fold in zip(ensemble.members, ensemble.held_out_folds, strict=True)
        ]
    )
    left, random = ablation.loc[f"mod-{modulus}"], "random, variance matched"
    row = {
        "dictionary": name,
        "members": len(ensemble),
        "latents": ensemble.members[0].d_sae,
        **fits[["l0", "dead", "fvu_fitted", "fvu_held_out"]].mean().to_dict(),
        "residues": residues.mean(),
        "residues_low": low,
        "residues_high": high,
        "residues_control": control.mean(),
        "held_out": held_out.value,
        "held_out_low": held_out.low,
        "held_out_high": held_out.high,
        "held_out_chance": 1 / modulus,
        "held_out_n": held_out.n,
        **_success(edits[edits["task"] == "numbers"], "numbers", seed),
        **_success(edits[edits["task"] != "numbers"], "words", seed),
        "left": left["ratio"],
        "left_low": left["ratio_low"],
        "left_high": left["ratio_high"],
        "left_random": ablation["ratio"].get(random, np.nan),
        "left_rank": left["rank"],
        "left_n": left["n_tokens"],
    }
    return Measured(row, residues, edits)


def _labelled_residues(
    labels: pd.DataFrame, modulus: int, members: int
) -> tuple[Float[np.ndarray, " members"], Float[np.ndarray, " members"]]:
    """Of each member: residues that have a label, and labels of moduli that share no factor."""
    confirmed = labels[(labels["modulus"] > 0) & (labels["label"] != "neither")]
    mine = confirmed[confirmed["modulus"] == modulus].groupby("member")["residue"].nunique()
    strange = confirmed[np.gcd(confirmed["modulus"].to_numpy(int), modulus) == 1]
    found, others = (
        counts.reindex(range(members), fill_value=0).to_numpy(float)
        for counts in (mine, strange.groupby("member").size())
    )
    return found, others


def _that_count(edits: pd.DataFrame, modulus: int) -> pd.DataFrame:
    """The edits behind `headline_edits`."""
    carry = (edits["i"] == modulus - 1) | (edits["j"] == modulus - 1)
    return edits[~carry & ((edits["task"] != "numbers") | (edits["split"] != "other"))]


def _success(edits: pd.DataFrame, name: str, seed: int) -> dict[str, float | int]:
    """The share of exact edits, a mean over tasks, beside random vectors of the same length."""
    if edits.empty:
        nothing = ("", "_low", "_high", "_random")
        return {f"{name}{part}": np.nan for part in nothing} | {f"{name}_n": 0}
    true = edits[edits["control"] == "none"]
    real, random = (_shares([one], seed) for one in (true, edits[edits["control"] == "random"]))
    by_target = _shares([true.assign(index=true["target"])], seed)
    low, high = max((both.interval()[:, 0] for both in (real, by_target)), key=np.ptp)
    return {
        name: real.estimate[0],
        f"{name}_low": low,
        f"{name}_high": high,
        f"{name}_random": random.estimate[0],
        f"{name}_n": len(edits[["task", "text"]].drop_duplicates()),
    }


def _shares(several: Sequence[pd.DataFrame], seed: int):
    """The same edits under one or several dictionaries, bootstrapped together."""
    first = several[0]
    success = np.stack([edits["success"].to_numpy(float) for edits in several])
    return bootstrap_means(success, clusters(first), first["task"].to_numpy(), seed=seed)


def dictionary_table(
    measured: Sequence[Measured], against: Mapping[str, str], *, seed: int = 0
) -> pd.DataFrame:
    """All dictionaries, and how far each is from some of them, pair by pair.

    Args:
        measured: with the same members, so that their residues and edits pair.
        against: what to compare with: the name of a column of differences, and of a dictionary.

    Returns:
        One row per dictionary: `dictionary`, `members`, `latents`; means over members of `l0`,
        `dead`, `fvu_fitted` and `fvu_held_out`; `residues`, how many have a latent with a
        tested and confirmed label (mean over members), with `residues_control`, latents labelled
        with a modulus that shares no factor; `held_out`, the worse of
        precision and recall on held-out numbers (mean over residues); `numbers` and `words`, the
        share of exact edits (words: mean over tasks), with `_random`, random vectors of the same
        length; `left`, the share of succession over numbers that ablation leaves, with
        `left_random`, random subspaces that hold as much variance (NaN if there is none) and
        `left_rank`. Of each `_low` and `_high`, its 95% interval, over members (`residues`,
        `held_out`) or elements; `_n`, tokens. For `against={"gain": "SAE"}`, `residues_gain`,
        `numbers_gain` and `words_gain`: the dictionary less the SAE, over the same members or the
        same edits, with intervals.
    """
    by_name = {str(one.row["dictionary"]): one for one in measured}
    rows = []
    for one in measured:
        row = dict(one.row)
        for column, name in against.items():
            other = by_name[name]
            for figure, gain in (
                ("residues", _members_gain(one, other, seed)),
                ("numbers", _edits_gain(one, other, True, seed)),
                ("words", _edits_gain(one, other, False, seed)),
            ):
                ends = (f"{figure}_{column}{end}" for end in ("", "_low", "_high"))
                row |= dict(zip(ends, gain, strict=True))
        rows.append(row)
    return pd.DataFrame(rows)


def _members_gain(one: Measured, other: Measured, seed: int) -> tuple[float, float, float]:
    gain = one.residues - other.residues
    drawn = np.random.default_rng(seed).choice(gain, (DRAWS, len(gain))).mean(1)
    return (float(gain.mean()), *np.percentile(drawn, [2.5, 97.5]).tolist())


def _edits_gain(
    one: Measured, other: Measured, numbers: bool, seed: int
) -> tuple[float, float, float]:
    mine, theirs = (
        m.edits[(m.edits["control"] == "none") & ((m.edits["task"] == "numbers") == numbers)]
        for m in (one, other)
    )
    if mine.empty:
        return (np.nan, np.nan, np.nan)
    both = _shares([mine, theirs], seed)
    drawn = both.draws[:, 0] - both.draws[:, 1]
    low, high = np.percentile(drawn, [2.5, 97.5]).tolist()
    return (float(both.estimate[0] - both.estimate[1]), low, high)
