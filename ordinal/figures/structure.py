"""The periods at which the numbers repeat, and the circle that they lie on."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ordinal.figures.style import CONTROL, RIGHT, finish


def spectrum(fourier: pd.DataFrame, modulus: int) -> go.Figure:
    """Share of the variance at each period, over the band that shuffled numbers stay in.

    Args:
        fourier: `period`, `power`, `null_mean`, `null_95`, `p_value`.
        modulus: its period, and those of its overtones, are named.
    """
    rows = fourier.sort_values("period")
    period = rows["period"].to_numpy()
    figure = go.Figure()
    figure.add_scatter(
        x=np.concatenate([period, period[::-1]]),
        y=np.concatenate([rows["null_95"].to_numpy(), np.zeros(len(period))]),
        mode="lines",
        line_width=0,
        fill="toself",
        fillcolor="rgba(128, 134, 144, 0.35)",
        name="shuffled numbers, 95%",
        hoverinfo="skip",
    )
    figure.add_scatter(
        x=period,
        y=rows["power"].to_numpy(),
        mode="lines",
        line=dict(color=RIGHT, width=1.5),
        name="M(n)",
        customdata=rows[["null_mean", "null_95", "p_value"]].to_numpy(),
        hovertemplate="period %{x:.2f}: %{y:.3f} of the variance<br>shuffled %{customdata[0]:.3f} "
        "on average, 95%: %{customdata[1]:.3f}; p = %{customdata[2]:.3f}<extra></extra>",
    )
    finish(figure, height=300, x="period, in numbers", y="share of the variance", legend=True)
    ticks = [t for t in (2, 2.5, 10 / 3, 5, 7, 10, 20, 50, 100, 200) if t <= period.max()]
    figure.update_xaxes(
        type="log", tickvals=ticks, ticktext=[f"{t:.3g}" for t in ticks], showgrid=False
    )
    for overtone in range(1, modulus // 2 + 1):
        figure.add_vline(x=modulus / overtone, line=dict(color=CONTROL, width=1, dash="dot"))
    figure.update_yaxes(rangemode="tozero", zeroline=False)
    return figure


def number_circle(circle: pd.DataFrame) -> go.Figure:
    """The numbers in the plane of one circle, each fitted without itself, coloured by residue.

    Args:
        circle: `period`, `index`, `residue`, `x`, `y`; (x, y) = (cos, sin) of 2 pi n / period for a
            perfect circle.
    """
    period = int(circle["period"].iloc[0])
    turn = np.linspace(0, 2 * np.pi, 181)
    figure = go.Figure()
    figure.add_scatter(
        x=np.cos(turn),
        y=np.sin(turn),
        mode="lines",
        line=dict(color=CONTROL, width=1, dash="dot"),
        hoverinfo="skip",
        showlegend=False,
    )
    for residue, rows in circle.groupby("residue"):
        colour = f"hsl({360 * int(str(residue)) / period:.0f}, 62%, 52%)"
        figure.add_scatter(
            x=rows["x"].to_numpy(),
            y=rows["y"].to_numpy(),
            mode="markers",
            name=str(residue),
            marker=dict(size=6, color=colour, opacity=0.75),
            customdata=rows["index"].to_numpy(),
            hovertemplate=f"%{{customdata}}: residue {residue}<extra></extra>",
        )
        place = 2 * np.pi * int(str(residue)) / period
        figure.add_annotation(
            x=1.45 * np.cos(place), y=1.45 * np.sin(place), text=str(residue), showarrow=False
        )
    finish(figure, height=420)
    reach = max(1.6, 1.05 * float(np.abs(circle[["x", "y"]].to_numpy()).max()))
    for update, title in ((figure.update_xaxes, "cosine"), (figure.update_yaxes, "sine")):
        update(range=[-reach, reach], showgrid=False, zeroline=False, title_text=title)
    figure.update_yaxes(scaleanchor="x")
    return figure
