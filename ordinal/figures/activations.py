"""One residue feature's activation over the numbers, both spellings (section 3.1)."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ordinal.figures.style import CONTROL, OTHER, RIGHT, finish


def feature_activation(numbers: pd.DataFrame, threshold: float, title: str = "") -> go.Figure:
    """Activation over the numbers, upwards with a leading space and downwards without.

    Numbers of the feature's class are blue, the others vermilion; a ring marks a number that the
    dictionary never saw, a cross a number of the class that stays below the threshold.

    Args:
        numbers: `index`, `form` (`space` or `bare`), `value`, `member` (of the class), `held_out`.
        threshold: above which the feature counts as active.
    """
    figure = go.Figure()
    shown = numbers.loc[(numbers["value"] > 0) | numbers["member"]]
    sign = np.where(shown["form"].str.startswith("space"), 1, -1)
    shown = shown.assign(height=sign * shown["value"])
    for member, colour, name in ((True, RIGHT, "of the class"), (False, OTHER, "other numbers")):
        rows = shown.loc[shown["member"] == member]
        figure.add_bar(
            x=rows["index"].to_numpy(),
            y=rows["height"].to_numpy(),
            width=1.4,
            name=name,
            marker=dict(color=colour, line_width=0),
            customdata=rows[["value", "form"]].to_numpy(),
            hovertemplate="%{x} (%{customdata[1]}): %{customdata[0]:.2f}<extra></extra>",
        )
    active = shown["value"] > threshold
    marks = {
        "held out": (shown.loc[shown["held_out"] & active], "circle-open", None),
        "missed": (shown.loc[shown["member"] & ~active], "x-thin-open", OTHER),
    }
    for name, (rows, symbol, colour) in marks.items():
        colours = [colour or (RIGHT if member else OTHER) for member in rows["member"]]
        figure.add_scatter(
            x=rows["index"].to_numpy(),
            y=rows["height"].to_numpy(),
            mode="markers",
            name=name,
            marker=dict(symbol=symbol, size=6, color=colours, line_width=1.4),
            customdata=rows[["value", "form"]].to_numpy(),
            hovertemplate=f"%{{x}} (%{{customdata[1]}}, {name}): %{{customdata[0]:.2f}}"
            "<extra></extra>",
        )
    finish(figure, height=170, title=title)
    figure.update_layout(barmode="overlay")
    for side in (threshold, -threshold):
        figure.add_hline(y=side, line=dict(color=CONTROL, width=1, dash="dot"))
    peak = 1.12 * max(numbers["value"].to_numpy().max(), threshold, 1e-9)
    figure.update_yaxes(range=[-peak, peak], showticklabels=False, showgrid=False, zeroline=True)
    ends = [numbers["index"].min() - 2, numbers["index"].max() + 2]
    figure.update_xaxes(range=ends, showgrid=False, zeroline=False)
    return figure
