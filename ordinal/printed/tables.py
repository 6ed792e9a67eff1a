"""Tables for a terminal of 80 columns, and the same rows as JSON."""

import json

import pandas as pd
from rich import box
from rich.console import Console
from rich.table import Table

from features.cards.shown import with_interval


def print_json(name: str, table: pd.DataFrame) -> None:
    """`{"<name>": [one object per row, keys as the columns]}` on stdout; NaN as null."""
    print(json.dumps({name: json.loads(str(table.to_json(orient="records")))}))


def print_table(table: pd.DataFrame, columns: dict[str, str], title: str = "") -> None:
    """Some columns of a table, under the headings given."""
    grid = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, collapse_padding=True)
    for column, heading in columns.items():
        numeric = pd.api.types.is_numeric_dtype(table[column])
        grid.add_column(heading, justify="right" if numeric else "left", overflow="fold")
    for _, row in table.iterrows():
        grid.add_row(*(_cell(row[column]) for column in columns))
    Console().print(grid)


def intervals(table: pd.DataFrame, value: str, low: str, high: str, digits: int = 2) -> list[str]:
    """`with_interval` of each row."""
    rows = table[[value, low, high]].itertuples(index=False)
    return [with_interval(*share, digits=digits) for share in rows]


def _cell(value: object) -> str:
    if isinstance(value, float):
        return "-" if pd.isna(value) else f"{value:.2f}"
    return str(value)
