"""What the report's sections about patching show: necessity, and sufficiency."""

import numpy as np
import pandas as pd

from eval.patching.arithmetic import headline_edits
from eval.scorecard.necessity import KEPT_BAR, LEFT_BAR
from eval.scorecard.sufficiency import EDIT_BAR
from ordinal.figures.ablation import digits_left, score_left
from ordinal.figures.arithmetic import edit_success
from ordinal.figures.ticks import number_ticks, outcomes, word_ticks
from ordinal.report.frames import word_names
from ordinal.report.sections import Section
from ordinal.report.tables import Table, from_frame, interval, number
from ordinal.run_folder import Run


def ablation(run: Run) -> Section:
    """Necessity."""
    table = run.table("ablation")
    if table.empty:
        return {}
    columns = {"directions": "directions", "removed": "removed", "ablation": "to", "rank": "rank"}
    columns |= {"variance_removed": "variance removed", "score_before": "score before"}
    columns |= {"score": "score after", "ratio": "share left [95%]"}
    columns |= {"margin_change": "change of margin, sd [95%]"}
    columns |= {"units_right": "units right", "tens_right": "tens right"}
    columns |= {"restored": "own class given back", "restored_other": "another class given back"}
    columns |= {"n_tokens": "numbers", "n_subspaces": "subspaces"}
    with_ends = ["ratio", "margin_change", "restored", "restored_other"]
    first, to_mean = table["directions"].iloc[0], table.loc[table["ablation"] == "mean"]
    return {
        "left": score_left(to_mean, (LEFT_BAR, KEPT_BAR)),
        "digits": digits_left(to_mean.loc[to_mean["directions"] == first]),
        "source": first,
        "table": from_frame(table, columns, with_ends, n_text=3),
        "bars": (LEFT_BAR, KEPT_BAR),
    }


def arithmetic(run: Run) -> Section:
    """Sufficiency: the tick tables, and success by task beside its controls."""
    table, edits = run.table("arithmetic"), run.table("edits")
    if table.empty:
        return {}
    modulus = run.config.features.modulus
    adding = table.loc[table["operator"] == "add"]
    first = adding["directions"].iloc[0]
    mine = edits.loc[(edits["directions"] == first) & (edits["operator"] == "add")]
    cells = {name: outcomes(mine.loc[mine["control"] == name]) for name in ("none", "random")}
    numbers = {name: rows.loc[rows["task"] == "numbers"] for name, rows in cells.items()}
    words = {
        task: cells["none"].loc[cells["none"]["task"] == task]
        for task in cells["none"]["task"].unique()
        if task != "numbers"
    }
    return {
        "ticks": {name: number_ticks(rows, modulus) for name, rows in numbers.items()},
        "words": [
            word_ticks(rows, word_names(run, task), task.replace("_", " "))
            for task, rows in words.items()
        ],
        "shares": {
            name: [f"{np.mean(rows['outcome'].to_numpy() == outcome):.0%}" for outcome in (2, 1, 0)]
            for name, rows in numbers.items()
        },
        "success": edit_success(headline_edits(table), EDIT_BAR),
        "source": first,
        "sources": list(adding["directions"].unique()),
        "table": _arithmetic_table(adding),
        "bar": EDIT_BAR,
        "n_edits": len(mine[mine["control"] == "none"]),
    }


def _arithmetic_table(table: pd.DataFrame) -> Table:
    """Each task and kind of edit, with every source's success and controls side by side."""
    sources = list(table["directions"].unique())
    rows = []
    keys = ["task", "split", "digits"]
    for task, split, digits in table[keys].drop_duplicates().itertuples(index=False):
        here = (table["task"] == task) & (table["split"] == split) & (table["digits"] == digits)
        part = table.loc[here]
        row = [str(task).replace("_", " "), str(split)]
        row.append("carries" if digits == "carry" else "no carries")
        for source in sources:
            by_control = part.loc[part["directions"] == source].set_index("control")
            for control in ("none", "random", "permuted"):
                if control in by_control.index:
                    found = by_control.loc[control]
                    columns = [found[c] for c in ("success", "success_low", "success_high")]
                    row.append(interval(*columns) if control == "none" else number(columns[0]))
                else:
                    row.append(number(None))
        edited = part.loc[(part["directions"] == sources[0]) & (part["control"] == "none")]
        for column in ("last_digit", "logit_gain", "scale", "n_edits", "n_tokens"):
            row.append(number(edited[column].item()))
        rows.append(row)
    headings = ["task", "numbers", "digits"]
    for source in sources:
        headings += [f"{source} [95%]", "random", "other residues"]
    headings += ["last digit", "logit gain", "scale", "edits", "tokens"]
    return Table(headings, rows, 3)
