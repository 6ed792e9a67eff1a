"""What `ordinal verify` says about the head in context: at most ten lines."""

from typing import Any

import pandas as pd

from features.cards.shown import short, with_interval
from ordinal.run_folder import Run

SHOWN = ("add", "clamp", "swap", "replace", "remove")
"""Operators in the order in which the first three are printed; the others are in the table."""
RANDOM_SUBSPACE = "random subspace"
"""Directions of a control: what `eval.patching.swaps.random_swap` says that it is of."""
Row = dict[Any, Any]


def print_context(run: Run) -> None:
    """The families with what ablating the head does, then edits: control, interval and n beside."""
    table, edits = run.table("in_context"), run.table("context_edits")
    if table.empty:
        print(f"in context: not testable, {table.attrs['not_testable']}")
        return
    asked = table[(table["task"] == "all") & (table["n_prompts"] > 0)]
    if len(asked):
        print(_columns("in context, right", "ablated", "next head", "compensated", "n"))
    for row in asked.to_dict("records"):
        print(_family(row))
    if len(asked):
        print("compensated: 1 - total / direct effect; below 0 what follows adds to the head")
        print(_agreement(asked))
    for row in table[table["n_prompts"] == 0].to_dict("records"):
        print(f"not asked in {row['family']}: {row['left_out']}"[:80])
    if len(edits):
        every = edits[(edits["task"] == "all") & (edits["family"] == "all")]
        shown = [row for name in SHOWN for row in _of(every, name)][:3]
        heads = "".join(f"{path:<14}" for path in ("direct", "total", "everywhere"))
        print(f"{'edits in context':<21}{heads}{'random':<7}{'n':>4}")
        for row in shown:
            print(_edit(row))


def _columns(*cells: str) -> str:
    first, ablated, other, compensated, n = cells
    return f"{first:<29}{ablated:<14}{other:<10}{compensated:<20}{n:>4}"


def _family(row: Row) -> str:
    right = f"{row['family']:<15}{_interval(row, 'accuracy')}"
    other, ratio = short(row["control_accuracy"]), _interval(row, "compensated")
    cells = right, _interval(row, "ablated_accuracy"), other, ratio, str(row["n_tokens"])
    needed = row["ablated_accuracy_high"] < row["control_accuracy_low"]
    return _columns(*cells) + _unless(needed)


def _agreement(asked: pd.DataFrame) -> str:
    """Of the family in which they agree least."""
    row: Row = dict(asked.sort_values("agreement").iloc[0])
    return (
        f"weights foresee the head: {_interval(row, 'agreement')} in {row['family']}, the worst "
        f"(shuffled {short(row['agreement_shuffled'])})"
        f"{_unless(row['agreement_low'] > row['agreement_shuffled_high'])}"
    )


def _of(edits: pd.DataFrame, name: str) -> list[Row]:
    """An operator's row, of the SAE's directions where it has them."""
    mine = (edits["operator"] == name) & (edits["directions"] != RANDOM_SUBSPACE)
    rows = edits[mine].to_dict("records")
    return ([row for row in rows if row["directions"] == "SAE"] or rows)[:1]


def _edit(row: Row) -> str:
    paths = ("value_direct", "value_total", "everywhere_total")
    cells = "".join(f"{_interval(row, path):<14}" for path in paths)
    random = max(row[f"random_{path}"] for path in paths)
    name = f"{row['operator']}, {row['directions']}"
    holds = all(row[f"{path}_low"] > row[f"random_{path}_high"] for path in paths)
    return f"{name:<21}{cells}{short(random):<7}{row['n_tokens']:>4}{_unless(holds)}"


def _interval(row: Row, name: str) -> str:
    return with_interval(row[name], row[f"{name}_low"], row[f"{name}_high"])


def _unless(holds: bool) -> str:
    return "" if holds else " NO"
