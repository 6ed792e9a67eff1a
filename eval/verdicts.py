"""The claims, each with its figure, its control, its interval, its n, and a bar set beforehand."""

from typing import NamedTuple

import numpy as np
import pandas as pd

from eval.heads import HeadChoice
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
EDIT_BAR = 0.5
"""Share of edits that must give exactly the successor of the edited element."""


class Claim(NamedTuple):
    """One line of the scorecard."""

    claim: str
    value: float
    low: float
    high: float
    control: str
    """What the value is to be compared with, and its figure."""
    n: int
    """Tokens behind the value."""
    bar: str
    verdict: str
    """`supported`, `not supported` or `not testable`."""


def claim(claim: str, value, low, high, control: str, n: int, bar: str, holds: bool) -> Claim:
    """A claim that was tested."""
    verdict = "supported" if holds else "not supported"
    return Claim(claim, float(value), float(low), float(high), control, int(n), bar, verdict)


def untestable(name: str, reason: str) -> Claim:
    """A claim that this model's tokens cannot decide."""
    return Claim(name, np.nan, np.nan, np.nan, reason, 0, "", "not testable")


def head_claims(choice: HeadChoice, baselines: pd.DataFrame) -> list[Claim]:
    """That one head computes succession, and that nothing before it does."""
    dominant = choice.low > HEAD_BAR and choice.score > HEAD_RATIO * choice.runner_up_score
    direct = baselines.set_index("read").loc["W_E + M"]
    return [
        claim(
            f"L{choice.layer}H{choice.head} maps tokens to their successors",
            choice.score,
            choice.low,
            choice.high,
            f"runner-up L{choice.runner_up_layer}H{choice.runner_up_head} "
            f"{choice.runner_up_score:.2f}, guessing {choice.chance:.2f}",
            choice.n_tokens,
            f"interval above {HEAD_BAR}, {HEAD_RATIO:g} times the runner-up",
            dominant,
        ),
        claim(
            "without the head, W_E + M(t) is not enough",
            direct["score"],
            direct["score_low"],
            direct["score_high"],
            f"with the head {choice.score:.2f}",
            int(direct["n_tokens"]),
            "interval below the head's",
            direct["score_high"] < choice.low,
        ),
    ]


def context_claim(context: pd.DataFrame) -> Claim:
    """That the head's succession survives in a real residual stream."""
    row, alone = context.iloc[0], context.iloc[1]
    return claim(
        "the head reads succession off the residual stream in context",
        row["score"],
        row["score_low"],
        row["score_high"],
        f"off M(t) {alone['score']:.2f}; cosine of M(t) with MLP0 in context {row['cosine']:.2f}",
        int(row["n_tokens"]),
        f"interval above {HEAD_BAR}",
        row["score_low"] > HEAD_BAR,
    )


def residue_claims(residues: pd.DataFrame, modulus: int, *, seed: int = 0) -> list[Claim]:
    """That the dictionaries hold one feature for each residue, and hold on numbers not fitted."""
    tested = residues[residues["modulus"] == modulus]
    controls = residues[residues["modulus"] != modulus]
    complete = tested.groupby("member")["good"].all().to_numpy(float)
    result = bootstrap_means(complete[None], np.arange(len(complete)), seed=seed)
    (low,), (high,) = result.interval()
    found = controls.groupby("modulus")["good"].sum()
    beside = ", ".join(
        f"mod {m}: {int(n)} of {len(controls[controls['modulus'] == m])}" for m, n in found.items()
    )
    pooled = tested.groupby("residue")[
        ["held_out_hits", "held_out_active", "held_out_members"]
    ].sum()
    recall = pooled["held_out_hits"] / pooled["held_out_members"].clip(lower=1)
    precision = pooled["held_out_hits"] / pooled["held_out_active"].clip(lower=1)
    worst = np.minimum(recall, precision)
    return [
        claim(
            f"members with a good feature for each of the {modulus} residues",
            result.estimate[0],
            low,
            high,
            f"good features {beside or 'no other modulus is testable'}",
            len(complete),
            f"at least {MEMBERS_BAR:.0%} of the members, no good feature for the other moduli",
            result.estimate[0] >= MEMBERS_BAR and not found.any(),
        ),
        claim(
            f"mod-{modulus} features on held-out numbers: worse of precision and recall",
            worst.mean(),
            worst.min(),
            worst.max(),
            f"chance {1 / modulus:.2f}",
            int(pooled["held_out_members"].sum()),
            "the worst residue at 0.8",
            worst.min() >= 0.8,
        ),
    ]


def ablation_claims(ablation: pd.DataFrame) -> list[Claim]:
    """That succession over numbers needs the directions: one claim per source of directions."""
    out = []
    for source, rows in ablation.groupby("directions", sort=False):
        removed = rows.set_index("removed")
        modulus = next(name for name in removed.index if str(name).startswith("mod-"))
        row = removed.loc[modulus]
        if "random, variance matched" not in removed.index:
            out.append(
                untestable(
                    f"removing {source} directions",
                    "no random subspace of this rank holds as much variance",
                )
            )
            continue
        random = removed.loc["random, variance matched"]
        out.append(
            claim(
                f"number score left after removing the {modulus} {source} directions",
                row["ratio"],
                row["ratio_low"],
                row["ratio_high"],
                f"random of the same variance {random['ratio']:.2f}, tens "
                f"{removed.loc['tens', 'ratio']:.2f}",
                int(row["n_tokens"]),
                f"at most {LEFT_BAR}, random at least {KEPT_BAR}",
                row["ratio"] <= LEFT_BAR and random["ratio"] >= KEPT_BAR,
            )
        )
    return out


def arithmetic_claims(arithmetic: pd.DataFrame, source: str) -> list[Claim]:
    """That adding k (f_j - f_i) edits the number: numbers on the other half's scale, then words."""
    rows = arithmetic[(arithmetic["directions"] == source) & (arithmetic["digits"] != "carry")]
    out = []
    for task, part in rows.groupby("task", sort=False):
        split = "20-99" if task == "numbers" else "other"
        by_control = part[part["split"] == split].set_index("control")
        if "none" not in by_control.index:
            continue
        row, random = by_control.loc["none"], by_control.loc["random"]
        out.append(
            claim(
                f"editing {task} with {source} directions, carries apart",
                row["success"],
                row["success_low"],
                row["success_high"],
                f"random vectors {random['success']:.2f}, other residues' "
                f"{by_control.loc['permuted', 'success']:.2f}",
                int(row["n_tokens"]),
                f"interval above {EDIT_BAR} and above the controls'",
                row["success_low"] > max(EDIT_BAR, random["success_high"]),
            )
        )
    return out
