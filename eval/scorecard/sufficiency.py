"""That the directions alone make another number of a token, and that nothing else does."""

import pandas as pd

from eval.patching.arithmetic import headline_edits
from eval.scorecard.claim import Claim, above, interval, judged, row, untestable
from features.cards.shown import short

NO_EDITS = "no edit without carries can be tested"
EDIT_BAR = 0.5
"""Share of edits that must give exactly the successor of the edited element."""


def arithmetic_claims(arithmetic: pd.DataFrame) -> list[Claim]:
    """That adding k (f_j - f_i) edits a number, and a word: one claim per source and task."""
    rows = headline_edits(arithmetic)
    out = []
    for source, task in rows[["directions", "task"]].drop_duplicates().itertuples(index=False):
        edit, random, permuted = (
            row(rows, directions=source, task=task, control=control)
            for control in ("none", "random", "permuted")
        )
        values = interval(edit, "success")
        out.append(
            judged(
                "sufficiency",
                f"edit {task}, {source}",
                values,
                f"random {short(random['success'])}, others {short(permuted['success'])}",
                edit["n_tokens"],
                f"above {EDIT_BAR}, and above the random vectors' interval",
                above(values, EDIT_BAR, random["success_high"]),
                directions=source,
                task=task,
            )
        )
    return out


def rival_claim(arithmetic: pd.DataFrame, rivals: pd.DataFrame, source: str) -> Claim:
    """That no other feature, and no luck of choosing among as many, edits numbers as well."""
    rows = headline_edits(arithmetic)
    edit = row(rows, directions=source, task="numbers", control="none")
    permuted = row(rows, directions=source, task="numbers", control="permuted")
    if not edit:
        return untestable("rival exclusion", "edits, best rival", NO_EDITS)
    others = headline_edits(rivals)
    others = {r["directions"]: r for r in others[others["task"] == "numbers"].to_dict("records")}
    best = max([*others.values(), permuted], key=lambda found: found["success"])
    name = best["directions"] if best is not permuted else "other residues"
    values = interval(edit, "success")
    return judged(
        "rival exclusion",
        "edits, best rival",
        values,
        f"{name} {short(best['success'])}",
        edit["n_tokens"],
        "above the interval of the best rival",
        above(values, best["success_high"]),
        directions=source,
    )


def tasks_claim(arithmetic: pd.DataFrame, source: str) -> Claim:
    """That features of the numbers edit words, in the task where they do it worst."""
    rows = headline_edits(arithmetic)
    words = rows[(rows["directions"] == source) & (rows["task"] != "numbers")]
    edits = words[words["control"] == "none"]
    if edits.empty:
        return untestable("task generalisation", "edits of words", NO_EDITS)
    worst = row(edits[edits["success_low"] == edits["success_low"].min()])
    random = row(words, task=worst["task"], control="random")
    values = interval(worst, "success")
    return judged(
        "task generalisation",
        f"worst: {worst['task']}",
        values,
        f"random {short(random['success'])}, {len(edits)} tasks",
        worst["n_tokens"],
        f"above {EDIT_BAR}, and above the random vectors' interval",
        above(values, EDIT_BAR, random["success_high"]),
        directions=source,
    )
