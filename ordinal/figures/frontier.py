"""The frontier of a sweep: how sparse a dictionary may be before it loses what the head reads."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ordinal.figures.style import CONTROL, HALF, OTHER, RIGHT, error_bars, finish, label

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "pentagon", "star")
"""Widths, the narrowest first."""
SCALE = [[0, OTHER], [0.5, HALF], [1, RIGHT]]
SPAN = 0.1
"""Of succession preserved that the axis and the colours show at least."""
_HOVER = (
    "<b>%{customdata[0]}</b><br>L0 %{customdata[1]:.1f}, dead %{customdata[2]:.1f} of "
    "%{customdata[3]}<br>FVU %{customdata[4]:.3f} fitted, %{customdata[5]:.3f} held out<br>"
    "succession %{customdata[6]:.3f} [%{customdata[7]:.3f}, %{customdata[8]:.3f}] held out, "
    "%{customdata[9]:.3f} fitted<br>M(t) shifted as far %{customdata[10]:.3f}, "
    "M(t) itself %{customdata[11]:.3f}; n = %{customdata[12]} tokens<extra></extra>"
)
_SHOWN = (
    "cell l0 dead latents fvu_fitted fvu_held_out preserved preserved_low preserved_high "
    "preserved_fitted control_shifted control_m n_tokens"
).split()


def sparsity_frontier(frontier: pd.DataFrame, members: pd.DataFrame) -> go.Figure:
    """L0 against the variance unexplained, and against succession preserved with its controls.

    Args:
        frontier: one row a cell: `cell`, `latents`, `recommended` and what
            `eval.dictionaries.frontier.cell_tables` gives.
        members: one row a member: `l0`, `fvu_held_out`, `preserved`, `split`; those of `report`
            are drawn.
    """
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.06)
    reported = members.loc[members["split"] == "report"]
    best = frontier["control_m"].max()
    lowest = min(reported["preserved"].min(), frontier["preserved_low"].min(), best - SPAN)
    shades = dict(colorscale=SCALE, cmin=lowest, cmax=best)
    bar = dict(title_text="kept", len=0.5, y=0, yanchor="bottom", thickness=10, outlinewidth=0)
    widths = sorted(frontier["latents"].unique())
    symbols = {width: SYMBOLS[i % len(SYMBOLS)] for i, width in enumerate(widths)}
    figure.add_shape(
        type="line",
        xref="x2 domain",
        yref="y2",
        x0=0,
        x1=1,
        y0=best,
        y1=best,
        line=dict(color=CONTROL, width=1, dash="dot"),
    )
    for panel, column in enumerate(("fvu_held_out", "preserved"), start=1):
        figure.add_scatter(
            x=reported["l0"],
            y=reported[column],
            mode="markers",
            marker=dict(
                size=5,
                opacity=0.6,
                color=reported["preserved"],
                showscale=panel == 1,
                colorbar=bar,
                **shades,
            ),
            showlegend=False,
            hoverinfo="skip",
            row=panel,
            col=1,
        )
        for number, (latents, rows) in enumerate(frontier.groupby("latents")):
            rows = rows.sort_values("l0")
            if panel == 2:
                _control(figure, rows, symbols[latents], first=number == 0)
            figure.add_scatter(
                x=rows["l0"],
                y=rows[column],
                mode="lines+markers",
                name=f"{latents} latents",
                legendgroup=str(latents),
                showlegend=panel == 1,
                line=dict(color=CONTROL, width=1),
                marker=dict(
                    size=13,
                    symbol=symbols[latents],
                    color=rows["preserved"],
                    line=dict(color=CONTROL, width=1),
                    **shades,
                ),
                error_y=_interval(rows) if panel == 2 else None,
                customdata=rows[_SHOWN].to_numpy(),
                hovertemplate=_HOVER,
                row=panel,
                col=1,
            )
        _ring(figure, frontier, column, panel)
    finish(figure, height=620, legend=True)
    figure.update_xaxes(title_text="L0: latents active on a token", row=2, col=1)
    figure.update_yaxes(title_text="FVU, held-out tokens", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title_text="succession preserved", row=2, col=1)
    bottom = min(lowest, frontier["control_shifted"].min())
    figure.update_yaxes(range=[bottom - 0.02, 1.02], row=2, col=1)
    return figure


def _interval(rows: pd.DataFrame) -> dict:
    columns = (rows[c].to_numpy() for c in ("preserved", "preserved_low", "preserved_high"))
    return {**error_bars(*columns), "color": CONTROL}


def _control(figure: go.Figure, rows: pd.DataFrame, symbol: str, first: bool) -> None:
    """M(t) shifted at random, by as much as the dictionary is off."""
    figure.add_scatter(
        x=rows["l0"],
        y=rows["control_shifted"],
        mode="markers",
        name="M(t) shifted as far (control)",
        legendgroup="control",
        showlegend=first,
        marker=dict(size=9, symbol=f"{symbol}-open", color=CONTROL, line_width=1.5),
        hoverinfo="skip",
        row=2,
        col=1,
    )


def _ring(figure: go.Figure, frontier: pd.DataFrame, column: str, panel: int) -> None:
    """Around what is recommended."""
    best = frontier.loc[frontier["recommended"]]
    figure.add_scatter(
        x=best["l0"],
        y=best[column],
        mode="markers",
        name=f"recommended: {label(best['cell'].iloc[0])}",
        showlegend=panel == 1,
        marker=dict(size=24, symbol="circle-open", color=RIGHT, line_width=2),
        hoverinfo="skip",
        row=panel,
        col=1,
    )
