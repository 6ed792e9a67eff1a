"""Draws up a sweep's frontier.html: one figure, and what it recommends."""

from typing import TYPE_CHECKING

import pandas as pd

from lm.files import replacing
from ordinal.figures.frontier import sparsity_frontier
from ordinal.report.page import fill

if TYPE_CHECKING:
    from ordinal.sweep import Sweep


def write_frontier(sweep: "Sweep", frontier: pd.DataFrame, members: pd.DataFrame) -> None:
    """Write `frontier.html` into the sweep's folder."""
    from ordinal.sweep import recommendation

    page = fill(
        "frontier.html",
        name=sweep.folder.name,
        model=sweep.base.config.model,
        n_cells=len(frontier),
        n_members=frontier["members"].iloc[0],
        n_tokens=frontier["n_tokens"].iloc[0],
        figure=sparsity_frontier(frontier, members),
        lines=recommendation(frontier, members),
    )
    with replacing(sweep.folder / "frontier.html") as partial:
        partial.write_text(page, encoding="utf-8")
