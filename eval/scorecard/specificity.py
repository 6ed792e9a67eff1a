"""That the directions carry what they are said to carry, and nothing else."""

import pandas as pd

from eval.heads.role_readouts import OTHER_WORDS, UNITS
from eval.patching.lesions import MATCHED
from eval.scorecard.claim import Claim, above, interval, judged, row, untestable
from eval.scorecard.sufficiency import EDIT_BAR
from features.cards.shown import short

SPECIFIC_BAR = 0.25
"""By how much more of the units is lost than of what is not ordinal."""
COPIED_BAR = 0.5
"""Share of words that must be copied before, or there is nothing to spare."""


def dissociation_claims(
    dissociation: pd.DataFrame, contrasts: pd.DataFrame, source: str, modulus: int
) -> list[Claim]:
    """The double dissociation of units and tens, and the units against what is not ordinal."""
    both = contrasts[contrasts["directions"] == source].head(2)
    worst = row(both[both["low"] == both["low"].min()])
    other = row(both[both["low"] != both["low"].min()]) or worst
    values = worst["value"], worst["low"], worst["high"]
    return [
        judged(
            "double dissociation",
            f"{worst['readout']}, contrast",
            values,
            f"{other['readout']} {short(other['value'])}",
            worst["n_tokens"],
            "both contrasts above 0: units lost to residues less units lost to tens, and the "
            "reverse",
            above(values, 0) + above((other["value"], other["low"], other["high"]), 0),
            directions=source,
        ),
        _specificity(dissociation[dissociation["directions"] == source], source, modulus),
    ]


def _specificity(rows: pd.DataFrame, source: str, modulus: int) -> Claim:
    name, mod = "units lost, less other words", f"mod-{modulus}"
    units = row(rows, removed=mod, readout=UNITS)
    words = row(rows, removed=mod, readout=OTHER_WORDS)
    if not words or words["before"] < COPIED_BAR:
        copied = f"{words['before']:.0%}" if words else "none"
        reason = f"no head copies other words (best {copied})"
        return untestable("specificity", name, reason, directions=source)
    random = row(rows, removed=MATCHED, readout=UNITS)
    # Of different tokens, so not paired: the bounds are those of the least and the most difference.
    values = (
        words["change"] - units["change"],
        words["change_low"] - units["change_high"],
        words["change_high"] - units["change_low"],
    )
    return judged(
        "specificity",
        name,
        values,
        f"random {short(-random['change'])}",
        units["n_tokens"],
        f"above {SPECIFIC_BAR}",
        above(values, SPECIFIC_BAR),
        directions=source,
    )


def prompts_claim(edits: pd.DataFrame, source: str) -> Claim:
    """That edits work in prompts, through the head alone, in the family where they do worst."""
    name = "edits in prompts"
    if edits.empty:
        return untestable("prompt generalisation", name, "no prompts were run", directions=source)
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
