"""What verification comes to: the scorecard, and which edit to use."""

import textwrap

import pandas as pd

from features.cards.shown import short
from ordinal.printed.tables import intervals, print_json, print_table
from ordinal.run_folder import Run

ELSEWHERE = (
    "The SAE was trained elsewhere, maybe on all of these tokens. Held out means that its features "
    "were chosen on four fifths of the numbers and confirmed on the rest."
)
"""What is true of an SAE that was not fitted here."""
HOLDS = {"supported": "yes", "not supported": "NO", "inconclusive": "?", "not testable": "-"}
OPERATORS = ("add", "remove", "replace", "clamp", "swap")


def print_claims(run: Run, as_json: bool) -> None:
    """The scorecard, a line for each criterion, and the edits by task and operator."""
    claims = pd.DataFrame(run.read_json("summary.json")["claims"])
    if as_json:
        print_json("claims", claims)
        return
    main = claims[claims["directions"].isin(["", "SAE"]) & claims["task"].isin(["", "numbers"])]
    shown = main.assign(
        interval=intervals(main, "value", "low", "high"), holds=main["verdict"].map(HOLDS)
    )
    columns = {"claim": "claim", "interval": "value [95%]", "control": "control", "n": "n"}
    print_table(shown, columns | {"holds": "holds"}, f"{run.config.model}: scorecard")
    if len(arithmetic := run.table("arithmetic")):
        print_table(*_operators(arithmetic, run.table("rivals")))
        key = (
            "Share of edits after which the head writes exactly the successor of the edited token; "
            "carries apart. Operators and scales: eval/patching/operators.py. *: did best on the "
            "tokens that the directions were fitted on. random: the best of as many random "
            "directions as there are latents. n: tokens."
        )
        print(textwrap.fill(key, 80))
    if run.config.pretrained is not None:
        print(textwrap.fill(ELSEWHERE, 80))


def _operators(
    arithmetic: pd.DataFrame, rivals: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, str], str]:
    """One row a task, one column an operator, and the random dictionary."""
    from eval.scorecard.sufficiency import headline_edits

    edits = headline_edits(arithmetic, None)
    edits = edits[edits["directions"].isin(["SAE", "projections"]) & (edits["control"] == "none")]
    best = edits.groupby("task")["fitted"].transform("max") == edits["fitted"]
    edits = edits.assign(shown=_stacked(edits), star=best.map({True: "*", False: ""}))
    edits["shown"] = edits["star"] + edits["shown"]
    wide = edits.pivot(index="task", columns="operator", values="shown")
    found = [name for name in OPERATORS if name in wide]
    random = headline_edits(rivals)
    random = random[random["directions"] == "random dictionary"]
    wide = wide.loc[edits["task"].unique(), found]
    wide["random"] = pd.Series(_stacked(random), index=random["task"])
    wide["n"] = edits.groupby("task")["n_tokens"].min()
    title = "edits of M(t) with the SAE's features (swap: with the index part)"
    return wide.reset_index(), {name: name for name in ["task", *found, "random", "n"]}, title


def _stacked(rows: pd.DataFrame) -> list[str]:
    """A share, and its interval below it."""
    columns = ["success", "success_low", "success_high"]
    return [
        f"{short(value)}\n{short(low)}-{short(high)}"
        for value, low, high in rows[columns].itertuples(index=False)
    ]
