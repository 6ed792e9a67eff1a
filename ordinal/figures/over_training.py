"""Two curves over training: whether a head counts, and whether M(t) says n modulo 10."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ordinal.figures.style import (
    CONTROL,
    HALF,
    OTHER,
    RIGHT,
    SOURCES,
    error_bars,
    finish,
    label,
    share_axis,
)

WIDE = 100
"""Positions that span a larger ratio are drawn on a logarithmic axis."""
GAP = 0.15
"""Between the panels, of the figure's height: the lower one's legend stands there."""


class Curve(NamedTuple):
    """How one column of the table is drawn."""

    name: str
    column: str
    colour: str
    symbol: str
    n: str
    """The column of the number of tokens behind it."""
    dash: str = "solid"


def curves_over_training(
    table: pd.DataFrame, positions: Sequence[float], axis_title: str
) -> go.Figure:
    """Succession above, residues below; what is a control is grey.

    Args:
        table: one row a checkpoint (`ordinal.checkpoint_study`); without residues the lower panel
            is left out.
        positions: where each checkpoint stands.
        axis_title: of the positions.
    """
    last = table.iloc[-1]
    head = f"L{last['fixed_layer']}H{last['fixed_head']}"
    panels = [
        [
            Curve(f"{head}, chosen at the last", "fixed_score", RIGHT, "circle", "n_tokens"),
            Curve("best head there", "score", HALF, "square", "n_tokens", "dash"),
            Curve("next head", "runner_up", CONTROL, "square-open", "n_tokens", "dash"),
            Curve("no head", "without_head", CONTROL, "x-thin-open", "n_without_head", "dot"),
            Curve("guessing", "chance", CONTROL, "line-ew-open", "n_tokens", "dot"),
        ]
    ]
    if table["probe"].notna().any():
        means = SOURCES["class means"]
        panels.append(
            [
                Curve("probe", "probe", SOURCES["probe"], "circle", "n_numbers"),
                Curve(
                    "probe, permuted",
                    "probe_permuted_95",
                    CONTROL,
                    "circle-open",
                    "n_numbers",
                    "dot",
                ),
                Curve("edits", "edits", means, "square", "n_edited"),
                Curve("random edits", "edits_random", CONTROL, "square-open", "n_edited", "dot"),
                Curve("power at 10", "power", OTHER, "diamond", "n_numbers"),
                Curve(
                    "power, permuted",
                    "power_permuted_95",
                    CONTROL,
                    "diamond-open",
                    "n_numbers",
                    "dot",
                ),
            ]
        )
    at, axis = _axis(np.asarray(positions, dtype=float))
    figure = make_subplots(len(panels), 1, shared_xaxes=True, vertical_spacing=GAP)
    for number, panel in enumerate(panels, start=1):
        for curve in panel:
            figure.add_trace(_drawn(curve, table, at), row=number, col=1)
    finish(figure, height=360 * len(panels), legend=True)
    if len(panels) > 1:
        figure.update_traces(legend="legend2", row=2, col=1)
    figure.update_layout(
        margin=dict(t=40),
        legend=dict(y=1.01),
        legend2=dict(
            orientation="h", x=0, y=(1 - GAP) / 2 + 0.005, yanchor="bottom", xanchor="left"
        ),
    )
    figure.update_xaxes(**axis)
    figure.update_xaxes(title_text=label(axis_title), showticklabels=True, row=len(panels), col=1)
    figure.update_yaxes(**share_axis())
    figure.update_yaxes(title_text="successor score", row=1, col=1)
    if len(panels) > 1:
        figure.update_yaxes(title_text="n mod 10 in M(t)", row=2, col=1)
    return figure


def _drawn(curve: Curve, table: pd.DataFrame, at: np.ndarray) -> go.Scatter:
    """One curve, with its intervals where it has any."""
    bars, shown = None, table[["label", curve.n]].to_numpy()
    if f"{curve.column}_low" in table:
        ends = (table[f"{curve.column}{end}"].to_numpy() for end in ("", "_low", "_high"))
        bars = error_bars(*ends)
    shown[:, 0] = [label(name) for name in shown[:, 0]]
    return go.Scatter(
        x=at,
        y=table[curve.column],
        mode="lines+markers",
        name=curve.name,
        line=dict(color=curve.colour, width=1.5, dash=curve.dash),
        marker=dict(size=8, symbol=curve.symbol, color=curve.colour),
        error_y=bars,
        customdata=shown,
        hovertemplate=f"%{{customdata[0]}}<br>{curve.name} %{{y:.3f}}<br>"
        "n = %{customdata[1]} tokens<extra></extra>",
    )


def _axis(positions: np.ndarray) -> tuple[np.ndarray, dict]:
    """Where the marks stand, and the axis: logarithmic where steps span orders of magnitude.

    Step 0 then stands one tick before the first step, under its own name.
    """
    positive = positions[positions > 0]
    if len(positive) < 2 or positive.max() / positive.min() <= WIDE or positions.min() < 0:
        return positions, {}
    first, last = np.floor(np.log10(positive.min())), np.log10(positive.max())
    zero = 10 ** (first - 0.5)
    ticks = [float(10**power) for power in np.arange(first, last + 1e-9)]
    texts = [f"{tick:,.0f}" for tick in ticks]
    if (positions == 0).any():
        ticks, texts = [zero, *ticks], ["0", *texts]
    axis = dict(type="log", tickvals=ticks, ticktext=texts)
    return np.where(positions == 0, zero, positions), axis
