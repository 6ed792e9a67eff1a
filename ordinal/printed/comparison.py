"""What `ordinal compare` prints."""

import textwrap

import pandas as pd

from ordinal.printed.tables import intervals, print_json, print_table
from ordinal.run_folder import Run


def print_comparison(run: Run, other: Run, table: pd.DataFrame, as_json: bool) -> None:
    """Both measures beside both nulls, and how to read them."""
    if as_json:
        print_json("similarity", table)
        return
    shown = table.assign(
        interval=intervals(table, "value", "low", "high"),
        p_any=table["p_value"].map("{:.1g}".format),
        p_near=table["p_banded"].map("{:.1g}".format),
    )
    columns = {"measure": "measure", "interval": "value [95%]"}
    columns |= {"null_95": "shuffled\n95%", "p_any": "p"}
    columns |= {"null_banded_95": "shuffled in\nbands, 95%", "p_near": "p", "n": "n"}
    print_table(shown, columns, f"{run.folder.name} and {other.folder.name}: the same numbers?")
    key = (
        "RSA: rank correlation of the distances between numbers. Procrustes: variance of the "
        "second model that the first predicts after a rotation, on numbers that did not fit it. "
        "shuffled: one model's numbers in any order; in bands of 20, so that their size stays: the "
        "value must stand above it to show more than size. n: numbers that are single tokens of "
        "both."
    )
    print(textwrap.fill(key, 80))
