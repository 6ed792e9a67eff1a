"""Dose-response: how much of an ablation, or of an edit, does how much."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ordinal.figures.style import CONTROL, HALF, OTHER, RIGHT, SOURCES, error_bars, finish, label

COLOURS = (RIGHT, OTHER, SOURCES["class means"], SOURCES["probe"], HALF)
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
SHARE = ("share", "share_low", "share_high")
PANELS = {"removal": "ablated: own successor", "edit": "edited: the target’s successor"}


def dose_curves(doses: pd.DataFrame) -> go.Figure:
    """Share of numbers that are right at each dose: left after ablations, right after edits.

    Args:
        doses: `kind`, `what`, `dose`, `share` with `share_low` and `share_high`, `margin`,
            `n_tokens`; random subspaces are drawn in grey.
    """
    figure = make_subplots(
        rows=1,
        cols=2,
        shared_yaxes=True,
        horizontal_spacing=0.04,
        subplot_titles=[*PANELS.values()],
    )
    for panel, kind in enumerate(PANELS, start=1):
        curves = doses.loc[doses["kind"] == kind]
        for number, (what, curve) in enumerate(curves.groupby("what", sort=False)):
            control = str(what).startswith("random")
            colour = CONTROL if control else COLOURS[number % len(COLOURS)]
            figure.add_scatter(
                x=curve["dose"],
                y=curve["share"],
                mode="lines+markers",
                name=label(str(what)),
                line=dict(color=colour, width=2, dash=DASHES[number % len(DASHES)]),
                marker=dict(size=4),
                error_y=error_bars(*(curve[c].to_numpy() for c in SHARE)),
                customdata=curve[["share_low", "share_high", "margin", "n_tokens"]].to_numpy(),
                hovertemplate=f"{label(str(what))}, dose %{{x}}<br>%{{y:.3f}} "
                "[%{customdata[0]:.3f}, %{customdata[1]:.3f}]<br>margin %{customdata[2]:.2f} sd, "
                "n = %{customdata[3]} numbers<extra></extra>",
                row=1,
                col=panel,
            )
    finish(figure, height=380, legend=True)
    figure.update_layout(margin=dict(t=70), legend=dict(y=1.14))
    figure.update_xaxes(title_text="dose", dtick=0.5)
    figure.update_yaxes(range=[-0.03, 1.03])
    figure.update_yaxes(title_text="share right", col=1)
    return figure
