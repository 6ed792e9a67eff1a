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
        print_table(*_best_edits(arithmetic, run.table("rivals")))
        key = (
            "Share of edits that give exactly the successor of the edited token; numbers 20-99, "
            "carries apart. best: of four operators, by the tokens that directions were fitted on. "
            "random: the best of as many random directions as latents."
        )
        print(textwrap.fill(key, 80))
    if run.config.pretrained is not None:
        print(textwrap.fill(ELSEWHERE, 80))


def print_operators(run: Run) -> None:
    """Every operator by task, with the intervals below the shares."""
    if (arithmetic := run.table("arithmetic")).empty:
        return
    edits = _of_operators(arithmetic)
    wide = edits.assign(shown=_stacked(edits)).pivot(
        index="task", columns="operator", values="shown"
    )
    found = [name for name in OPERATORS if name in wide]
    random = _random(run.table("rivals"))
    wide = wide.loc[edits["task"].unique(), found]
    wide["random"] = pd.Series(_stacked(random), index=random.index)
    wide["n"] = edits.groupby("task")["n_tokens"].min()
    title = "edits by operator, with the SAE's features (swap: with the index part)"
    headings = {name: name for name in ["task", *found, "random", "n"]}
    print_table(wide.reset_index(), headings, title)


def _best_edits(
    arithmetic: pd.DataFrame, rivals: pd.DataFrame
) -> tuple[pd.DataFrame, dict[str, str], str]:
    """One row a task: the operator that did best where it was chosen, the paper's, and luck.

    The swap is in the table of all operators alone: its map has more freedom where it was fitted.
    """
    edits = _of_operators(arithmetic)
    edits = edits[edits["operator"] != "swap"]
    best = edits.sort_values("fitted", kind="stable").groupby("task", sort=False).tail(1)
    shown = pd.DataFrame({"task": edits["task"].unique()}).set_index("task")
    shown["operator"] = best.set_index("task")["operator"]
    columns = ("success", "success_low", "success_high")
    for name, rows in (
        ("best", best.set_index("task")),
        ("add", edits[edits["operator"] == "add"].set_index("task")),
        ("random", _random(rivals)),
    ):
        shown[name] = pd.Series(intervals(rows, *columns), index=rows.index)
    shown["n"] = edits.groupby("task")["n_tokens"].min()
    headings = {"task": "task", "operator": "best", "best": "exact [95%]", "add": "add [95%]"}
    headings |= {"random": "random [95%]", "n": "n"}
    return shown.reset_index(), headings, "edits of M(t) with the SAE's features"


def _of_operators(arithmetic: pd.DataFrame) -> pd.DataFrame:
    """The edits that count, with the SAE's features and with the index part."""
    from eval.patching.arithmetic import headline_edits

    edits = headline_edits(arithmetic, None)
    return edits[edits["directions"].isin(["SAE", "projections"]) & (edits["control"] == "none")]


def _random(rivals: pd.DataFrame) -> pd.DataFrame:
    """The random dictionary's edits, by task."""
    from eval.patching.arithmetic import headline_edits

    found = headline_edits(rivals)
    return found[found["directions"] == "random dictionary"].set_index("task")


def _stacked(rows: pd.DataFrame) -> list[str]:
    """A share, and its interval below it."""
    columns = ["success", "success_low", "success_high"]
    return [
        f"{short(value)}\n{short(low)}-{short(high)}"
        for value, low, high in rows[columns].itertuples(index=False)
    ]
