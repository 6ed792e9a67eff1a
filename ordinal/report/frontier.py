"""Draws up a sweep's frontier.html: one figure, and what it recommends."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from lm.files import replacing
from ordinal.figures.frontier import sparsity_frontier
from ordinal.report.page import fill


def write_frontier(
    folder: Path, model: str, frontier: pd.DataFrame, members: pd.DataFrame, lines: Sequence[str]
) -> None:
    """Write `frontier.html` into a sweep's folder.

    Args:
        model: its name.
        lines: what is recommended, and why.
    """
    page = fill(
        "frontier.html",
        name=folder.name,
        model=model,
        n_cells=len(frontier),
        n_members=frontier["members"].iloc[0],
        n_tokens=frontier["n_tokens"].iloc[0],
        figure=sparsity_frontier(frontier, members),
        lines=lines,
    )
    with replacing(folder / "frontier.html") as partial:
        partial.write_text(page, encoding="utf-8")
