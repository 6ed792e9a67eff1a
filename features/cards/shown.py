"""How figures are written, and how the catalog and its cards show themselves."""

import textwrap
from collections.abc import Iterator, Sequence
from html import escape
from typing import NamedTuple

import pandas as pd

WIDTH = 80
"""Columns of a terminal."""


def short(value: float, digits: int = 2) -> str:
    """A share without its leading zero: `.93`, and `1.0` for one."""
    text = f"{value:.{digits}f}"
    return "1.0" if float(text) == 1 else text.removeprefix("0")


def with_interval(value: float, low: float, high: float, digits: int = 2) -> str:
    """`.93 [.90,.96]`."""
    if pd.isna(value):
        return "-"
    return f"{short(value, digits)} [{short(low, digits)},{short(high, digits)}]"


class Block(NamedTuple):
    """A title, a small table whose first row is its heading, and notes."""

    title: str
    rows: Sequence[Sequence[str]]
    notes: Sequence[str]

    def text(self) -> str:
        """Lines of at most `WIDTH` columns; what is too long in the last column is cut."""
        return "\n".join([_wrapped(self.title), "", *self._lines(), "", *map(_wrapped, self.notes)])

    def html(self) -> str:
        """The same as HTML; everything in it is escaped."""
        tags = ["th", *["td"] * (len(self.rows) - 1)]
        rows = [
            f"<tr>{''.join(f'<{tag}>{escape(cell)}</{tag}>' for cell in row)}</tr>"
            for tag, row in zip(tags, self.rows, strict=True)
        ]
        notes = "<br>".join(escape(note) for note in self.notes)
        title = f"<p><b>{escape(self.title)}</b></p>"
        return f"<div>{title}<table>{''.join(rows)}</table><p>{notes}</p></div>"

    def _lines(self) -> Iterator[str]:
        widths = [max(map(len, column)) for column in zip(*self.rows, strict=True)][:-1]
        room = WIDTH - sum(width + 2 for width in widths) - 2
        for *row, last in self.rows:
            cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
            cut = textwrap.shorten(last, room, placeholder=" ...")
            yield "  " + "  ".join([*cells, cut]).rstrip()


def _wrapped(text: str) -> str:
    return textwrap.fill(text, WIDTH, break_on_hyphens=False)
