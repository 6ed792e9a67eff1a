"""What is left of succession when directions are removed from M(t)."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ordinal.figures.style import (
    CONTROL,
    HALF,
    RIGHT,
    SOURCES,
    SYMBOLS,
    error_bars,
    finish,
    label,
    share_axis,
)


def score_left(ablation: pd.DataFrame, bars: tuple[float, ...] = ()) -> go.Figure:
    """Share of the score that is left, for each removal and each source of directions.

    Args:
        ablation: `directions`, `removed`, `ratio`, `ratio_low`, `ratio_high`, `rank`,
            `variance_removed`, `n_tokens`, `n_subspaces`.
        bars: shares to mark with a line.
    """
    removed = list(dict.fromkeys(ablation["removed"]))
    figure = go.Figure()
    sources = ablation.groupby("directions", sort=False)
    for number, (source, rows) in enumerate(sources):
        offset = (number - (len(sources) - 1) / 2) * 0.22
        columns = [rows[c].to_numpy() for c in ("ratio", "ratio_low", "ratio_high")]
        colour = SOURCES.get(str(source), CONTROL)
        figure.add_scatter(
            x=columns[0],
            y=[removed.index(name) + offset for name in rows["removed"]],
            mode="markers",
            name=label(str(source)),
            marker=dict(size=9, color=colour, symbol=SYMBOLS.get(str(source), "circle")),
            error_x=error_bars(*columns),
            customdata=rows[
                ["removed", "ratio_low", "ratio_high", "rank", "variance_removed", "n_tokens"]
            ].to_numpy(),
            hovertemplate=f"{label(str(source))}: %{{customdata[0]}}<br>left %{{x:.3f}} "
            "[%{customdata[1]:.3f}, %{customdata[2]:.3f}]<br>rank %{customdata[3]}, "
            "%{customdata[4]:.0%} of the variance, n = %{customdata[5]} numbers<extra></extra>",
        )
    finish(figure, height=90 + 62 * len(removed), x="share of the score left", legend=True)
    for bar in bars:
        figure.add_vline(x=bar, line=dict(color=CONTROL, width=1, dash="dot"))
    figure.update_xaxes(**share_axis())
    _name_rows(figure, [label(name) for name in removed])
    return figure


def digits_left(ablation: pd.DataFrame) -> go.Figure:
    """Whether the number that the head then writes has the right units, and the right tens.

    Args:
        ablation: of one source of directions: `removed`, `units_right` and `tens_right` with
            their intervals, `n_tokens`.
    """
    names = [label(name) for name in ablation["removed"]]
    n = ablation["n_tokens"].to_numpy()
    figure = go.Figure()
    for column, name, colour, symbol, offset in (
        ("units_right", "units right", RIGHT, "circle", -0.11),
        ("tens_right", "tens right", HALF, "square", 0.11),
    ):
        share = ablation[column].to_numpy()
        low, high = (ablation[f"{column}_{end}"].to_numpy() for end in ("low", "high"))
        figure.add_scatter(
            x=share,
            y=np.arange(len(names)) + offset,
            mode="markers",
            name=name,
            marker=dict(size=9, color=colour, symbol=symbol),
            error_x=error_bars(share, low, high),
            customdata=pd.DataFrame({"low": low, "high": high, "n": n}).to_numpy(),
            hovertemplate=f"{name} %{{x:.3f}} [%{{customdata[0]:.3f}}, "
            "%{customdata[1]:.3f}]<br>n = %{customdata[2]} numbers<extra></extra>",
        )
    finish(figure, height=90 + 62 * len(names), x="share of the numbers", legend=True)
    figure.update_xaxes(**share_axis())
    _name_rows(figure, names)
    return figure


def _name_rows(figure: go.Figure, names: list[str]) -> None:
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=names,
        range=[len(names) - 0.5, -0.5],
        showgrid=False,
        zeroline=False,
    )
