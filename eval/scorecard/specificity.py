"""That the directions carry what they are said to carry, and nothing else."""

from typing import Any

import pandas as pd

from eval.patching.lesions import MATCHED
from eval.scorecard.claim import Claim, above, below, interval, judged, row, untestable
from eval.scorecard.sufficiency import EDIT_BAR
from eval.text.losses import ALL, ORDINAL
from features.cards.shown import short

SPECIFIC_BAR = 0.75
"""Share of the rise of the loss at ordinal tokens that must not be there at others."""


def dissociation_claim(contrasts: pd.DataFrame, source: str) -> Claim:
    """The double dissociation of units and tens."""
    both = contrasts[contrasts["directions"] == source].head(2)
    worst = row(both[both["low"] == both["low"].min()])
    other = row(both[both["low"] != both["low"].min()]) or worst
    values = worst["value"], worst["low"], worst["high"]
    return judged(
        "double dissociation",
        f"{worst['readout']}, contrast",
        values,
        f"{other['readout']} {short(other['value'])}",
        worst["n_tokens"],
        "both contrasts above 0: units lost to residues less units lost to tens, and the reverse",
        above(values, 0) + above((other["value"], other["low"], other["high"]), 0),
        directions=source,
    )


def specificity_claim(losses: pd.DataFrame, source: str, modulus: int) -> Claim:
    """That text without the directions is harder to foretell where it is ordinal, and only there.

    Args:
        losses: of `text_losses`; where it is empty, `attrs["not_testable"]` says why.
        source: of the directions.
        modulus: of the residues.
    """
    name = "loss at ordinal only"
    if losses.empty:
        reason = losses.attrs.get("not_testable", "no text was read").split(". ")[0]
        return untestable("specificity", name, reason, directions=source)
    mine = losses[(losses["directions"] == source) & (losses["positions"] == ORDINAL)]
    found = row(mine, removed=f"mod-{modulus}")
    random, everything = row(mine, removed=MATCHED), row(mine, removed=ALL)
    reason = ""
    if not found:
        reason = "the text holds no ordinal token"
    elif not random:
        reason = "no random subspace of this rank holds as much variance"
    elif not everything["specificity_low"] < SPECIFIC_BAR:
        reason = "without all of MLP0, other tokens of this text lose too little to tell"
    if reason:
        return untestable("specificity", name, reason, directions=source)
    values, rise = interval(found, "specificity"), interval(found, "change")
    return judged(
        "specificity",
        name,
        values,
        f"random {_share(random)}, all {_share(everything)}",
        found["n_positions"],
        f"above {SPECIFIC_BAR}, which removing all of M is below; the rise at ordinal tokens above "
        "that of random subspaces of the same variance",
        above(values, SPECIFIC_BAR)
        + below(interval(everything, "specificity"), SPECIFIC_BAR)
        + above(rise, random["change_high"]),
        directions=source,
    )


def _share(found: dict[str, Any]) -> str:
    """A specificity, which there is only where the loss rises at all."""
    return "-" if pd.isna(found["specificity"]) else short(found["specificity"])


def prompts_claim(edits: pd.DataFrame, source: str) -> Claim:
    """That edits work in prompts, through the head alone, in the family where they do worst."""
    name = "edits in prompts"
    if edits.empty:
        reason = edits.attrs.get("not_testable", "no prompts were run")
        return untestable("prompt generalisation", name, reason, directions=source)
    mine = edits[(edits["operator"] == "add") & (edits["directions"] == source)]
    mine = mine[(mine["task"] == "all") & (mine["family"] != "all")]
    if mine.empty:
        reason = "no family of prompts fits these tokens"
        return untestable("prompt generalisation", name, reason, directions=source)
    worst = row(mine[mine["value_direct_low"] == mine["value_direct_low"].min()])
    values = interval(worst, "value_direct")
    return judged(
        "prompt generalisation",
        f"edits, {worst['family']} (worst)",
        values,
        f"random {short(worst['random_value_direct'])}, {len(mine)} families",
        worst["n_tokens"],
        f"above {EDIT_BAR}, and above random vectors' interval",
        above(values, EDIT_BAR, worst["random_value_direct_high"]),
        directions=source,
    )
