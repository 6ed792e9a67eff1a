"""Whether the same features come back under other seeds."""

import pandas as pd
import plotly.graph_objects as go

from ordinal.figures.style import CONTROL, RIGHT, finish, label


def stability_by_label(features: pd.DataFrame, control: str = "neither") -> go.Figure:
    """Each kind of label's stability, one box a kind, the unlabelled latents as control.

    Args:
        features: `kind`, `stability`.
        control: the kind that is drawn in grey.
    """
    figure = go.Figure()
    for kind, rows in features.groupby("kind"):
        figure.add_box(
            x=rows["stability"].to_numpy(),
            name=label(str(kind)),
            orientation="h",
            boxpoints=False,
            line_width=1.5,
            marker_color=CONTROL if kind == control else RIGHT,
            hoverinfo="x",
        )
    n = len(features["kind"].unique())
    finish(figure, height=90 + 44 * n, x="best cosine in other members, mean")
    figure.update_xaxes(range=[0, 1.02], zeroline=False)
    return figure
