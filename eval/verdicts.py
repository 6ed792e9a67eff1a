"""The claims, each with its figure, its control, its interval, its n, and a bar set beforehand."""

from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from jaxtyping import Float

from eval.heads.successor import HeadChoice
from features.residues import GOOD
from features.statistics import bootstrap_means

HEAD_BAR = 0.5
"""The paper finds scores above this in most models (section 2)."""
HEAD_RATIO = 2.0
"""The chosen head against its runner-up."""
MEMBERS_BAR = 0.5
"""Share of the members that must have a feature for every residue."""
LEFT_BAR = 0.3
"""Share of the score that removing the directions may leave."""
KEPT_BAR = 0.75
"""Share of the score that removing random directions of the same variance must leave."""
DRAWS = 1000
"""Of the members, for an interval over them."""
EDIT_BAR = 0.5
"""Share of edits that must give exactly the successor of the edited element."""


class Claim(NamedTuple):
    """One line of the scorecard."""

    about: str
    """`head`, `features`, `ablation` or `arithmetic`."""
    claim: str
    value: float
    low: float
    high: float
    control: str
    """What the value is to be compared with, and its figure."""
    n: int
    """Tokens behind the value (members, where it is a share of members)."""
    bar: str
    """What was asked of the value before it was measured."""
    verdict: str
    """`supported`, `not supported` or `not testable`."""
    directions: str = ""
    """Where a claim is about directions: their source."""
    task: str = ""
    """Where it is about one task: its name."""


def _claim(
    about: str,
    name: str,
    values: tuple[float, float, float],
    control: str,
    n: float,
    bar: str,
    holds: bool,
    **which: str,
) -> Claim:
    verdict = "supported" if holds else "not supported"
    value, low, high = map(float, values)
    return Claim(about, name, value, low, high, control, int(n), bar, verdict, **which)


def untestable(about: str, name: str, reason: str) -> Claim:
    """A claim that this model's tokens cannot decide."""
    return Claim(about, name, np.nan, np.nan, np.nan, reason, 0, "", "not testable")


def _short(value: float) -> str:
    """Two decimals, without a leading zero: the controls stand in a narrow column."""
    return f"{value:.2f}".removeprefix("0")


def _row(table: pd.DataFrame, **where: object) -> dict[str, Any]:
    """The first row with these values; empty when there is none."""
    for column, value in where.items():
        table = table[table[column] == value]
    return {str(key): value for key, value in table.iloc[0].items()} if len(table) else {}


def head_claims(choice: HeadChoice, baselines: pd.DataFrame) -> list[Claim]:
    """That one head computes succession, and that nothing before it does."""
    direct = _row(baselines, read="W_E + M")
    return [
        _claim(
            "head",
            f"L{choice.layer}H{choice.head} is a successor head",
            (choice.score, choice.low, choice.high),
            f"next {_short(choice.runner_up_score)}, chance {_short(choice.chance)}",
            choice.n_tokens,
            f"interval above {HEAD_BAR}, score above {HEAD_RATIO:g} times the runner-up's",
            choice.low > HEAD_BAR and choice.score > HEAD_RATIO * choice.runner_up_score,
        ),
        _claim(
            "head",
            "W_E + M(t) without head",
            (direct["score"], direct["score_low"], direct["score_high"]),
            f"with it {_short(choice.score)}",
            direct["n_tokens"],
            "interval below the head's",
            direct["score_high"] < choice.low,
        ),
    ]


def context_claim(context: pd.DataFrame, choice: HeadChoice) -> Claim:
    """That the head's succession survives in a real residual stream."""
    stream = _row(context, read="residual stream in context")
    alone = _row(context, read="M(t)")
    return _claim(
        "head",
        f"L{choice.layer}H{choice.head} in context",
        (stream["score"], stream["score_low"], stream["score_high"]),
        f"M(t) {_short(alone['score'])}, chance {_short(choice.chance)}",
        stream["n_tokens"],
        f"interval above {HEAD_BAR}",
        stream["score_low"] > HEAD_BAR,
    )


def residue_claims(residues: pd.DataFrame, modulus: int, *, seed: int = 0) -> list[Claim]:
    """That the dictionaries hold one feature for each residue, on held-out numbers too."""
    tested = residues[residues["modulus"] == modulus]
    controls = residues[residues["modulus"] != modulus]
    complete = tested.groupby("member")["good"].all().to_numpy(float)
    members = bootstrap_means(complete[None], np.arange(len(complete)), seed=seed)
    moduli = ", ".join(str(m) for m in controls["modulus"].unique())
    counts = ["held_out_hits", "held_out_active", "held_out_members"]
    by_member = tested.pivot_table(index="member", columns="residue", values=counts, aggfunc="sum")
    pooled = np.stack([by_member[name].to_numpy(float) for name in counts])
    each = _worse_of_both(pooled.sum(1))
    over = "members" if len(complete) > 1 else "residues"
    low, high = _over_members(pooled, seed) if over == "members" else _over_residues(each, seed)
    return [
        _claim(
            "features",
            f"members with {modulus} residues",
            (members.estimate[0], *members.interval()[:, 0]),
            f"mod {moduli}: {controls['good'].sum()} of {len(controls)}"
            if moduli
            else "no other modulus is testable",
            len(complete),
            f"at least {MEMBERS_BAR:.0%} of members (over all numbers, held out or not), no good "
            "feature for the other moduli",
            members.estimate[0] >= MEMBERS_BAR and not controls["good"].any(),
        ),
        _claim(
            "features",
            "held-out min(P, R)",
            (each.mean(), low, high),
            f"worst {_short(each.min())}, chance {_short(1 / modulus)}",
            int(pooled[2].sum()),
            f"precision and recall at least {GOOD} for the worst residue (interval: over {over})",
            each.min() >= GOOD,
        ),
    ]


def _worse_of_both(counts: Float[np.ndarray, "3 residues"]) -> Float[np.ndarray, " residues"]:
    """The worse of precision and recall, of each residue."""
    hits, active, present = np.maximum(counts, 1e-9)
    return np.minimum(hits / present, hits / active)


def _over_members(
    pooled: Float[np.ndarray, "3 members residues"], seed: int
) -> Float[np.ndarray, "2"]:
    """95% interval of the residues' mean, with members drawn again and again."""
    rng, size = np.random.default_rng(seed), pooled.shape[1]
    drawn = (pooled[:, rng.integers(size, size=size)].sum(1) for _ in range(DRAWS))
    return np.percentile([_worse_of_both(draw).mean() for draw in drawn], [2.5, 97.5])


def _over_residues(each: Float[np.ndarray, " residues"], seed: int) -> Float[np.ndarray, "2"]:
    """95% interval of the mean, for a single member: drawing it again and again has no spread."""
    return bootstrap_means(each[None], np.arange(len(each)), seed=seed).interval()[:, 0]


def ablation_claims(ablation: pd.DataFrame, modulus: int) -> list[Claim]:
    """That succession over numbers needs the directions: one claim per source of directions."""
    out = []
    for source in ablation["directions"].unique():
        name = f"left, {source} ablated"
        row = _row(ablation, directions=source, removed=f"mod-{modulus}")
        tens = _row(ablation, directions=source, removed="tens")
        random = _row(ablation, directions=source, removed="random, variance matched")
        if not random:
            reason = "no random subspace of this rank holds as much variance"
            out.append(untestable("ablation", name, reason))
            continue
        out.append(
            _claim(
                "ablation",
                name,
                (row["ratio"], row["ratio_low"], row["ratio_high"]),
                f"random {_short(random['ratio'])}, tens {_short(tens['ratio'])}",
                row["n_tokens"],
                f"at most {LEFT_BAR} of the number score, random of the same variance at least "
                f"{KEPT_BAR}",
                row["ratio"] <= LEFT_BAR and random["ratio"] >= KEPT_BAR,
                directions=source,
            )
        )
    return out


def arithmetic_claims(arithmetic: pd.DataFrame) -> list[Claim]:
    """That adding k (f_j - f_i) edits a number, and a word: one claim per source and task."""
    rows = headline_edits(arithmetic)
    out = []
    for source, task in rows[["directions", "task"]].drop_duplicates().itertuples(index=False):
        edit, random, permuted = (
            _row(rows, directions=source, task=task, control=control)
            for control in ("none", "random", "permuted")
        )
        out.append(
            _claim(
                "arithmetic",
                f"edit {task}, {source}",
                (edit["success"], edit["success_low"], edit["success_high"]),
                f"random {_short(random['success'])}, permuted {_short(permuted['success'])}",
                edit["n_tokens"],
                f"interval above {EDIT_BAR} and above the random vectors'",
                edit["success_low"] > max(EDIT_BAR, random["success_high"]),
                directions=source,
                task=task,
            )
        )
    return out


def headline_edits(arithmetic: pd.DataFrame) -> pd.DataFrame:
    """The rows that count: without carries; numbers where the scale was chosen on other decades."""
    return arithmetic[(arithmetic["digits"] != "carry") & (arithmetic["split"] != "other numbers")]
