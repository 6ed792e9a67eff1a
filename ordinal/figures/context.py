"""The head in prompts: what it adds to the margin, and what edits make the model say."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ordinal.figures.style import (
    CONTROL,
    HALF,
    OTHER,
    RIGHT,
    error_bars,
    finish,
    label,
    share_axis,
)

EFFECTS = {
    "direct": ("direct", RIGHT, "circle"),
    "total": ("in total", OTHER, "square"),
    "control_total": ("the next best head, in total (control)", CONTROL, "diamond"),
}
PATHS = {
    "value_direct": ("the head’s values, direct", RIGHT, "circle"),
    "value_total": ("the head’s values, total", HALF, "square"),
    "everywhere_total": ("M everywhere, total", OTHER, "diamond"),
}


def head_effects(families: pd.DataFrame) -> go.Figure:
    """What the head adds to the successor's margin, directly and in total, by family.

    Args:
        families: `family`, `n_tokens`, and each of `EFFECTS` with its interval.
    """
    names = [label(name) for name in families["family"]]
    figure = _marks(families, names, EFFECTS)
    finish(figure, height=90 + 44 * len(names), x="logits added to the margin", legend=True)
    figure.update_xaxes(rangemode="tozero", zeroline=True, zerolinewidth=1)
    return _rows(figure, names)


def edit_paths(edits: pd.DataFrame) -> go.Figure:
    """Success of each operator on each path; random vectors of the same length in grey.

    Args:
        edits: `operator`, `directions`, `n_tokens`, and the share of each of `PATHS` with its
            interval, and with `random_` before its name.
    """
    pairs = edits[["operator", "directions"]].itertuples(index=False)
    names = [label(f"{operator}, {directions}") for operator, directions in pairs]
    figure = _marks(edits, names, PATHS)
    random = np.max([edits[f"random_{path}"].to_numpy() for path in PATHS], axis=0)
    figure.add_scatter(
        x=random,
        y=np.arange(len(names)),
        mode="markers",
        name="random (control), the best path",
        marker=dict(size=10, color=CONTROL, symbol="line-ns-open", line_width=1.5),
        hovertemplate="random: %{x:.3f}<extra></extra>",
    )
    finish(figure, height=110 + 46 * len(names), x="share of prompts", legend=True)
    figure.update_xaxes(**share_axis())
    return _rows(figure, names)


def _marks(
    table: pd.DataFrame, names: list[str], series: dict[str, tuple[str, str, str]]
) -> go.Figure:
    figure = go.Figure()
    for number, (column, (name, colour, symbol)) in enumerate(series.items()):
        low, high = (table[f"{column}_{end}"].to_numpy() for end in ("low", "high"))
        value = table[column].to_numpy()
        shown = pd.DataFrame({"low": low, "high": high, "n": table["n_tokens"].to_numpy()})
        figure.add_scatter(
            x=value,
            y=np.arange(len(names)) + 0.2 * (number - (len(series) - 1) / 2),
            mode="markers",
            name=name,
            marker=dict(size=9, color=colour, symbol=symbol),
            error_x=error_bars(value, low, high),
            customdata=shown.to_numpy(),
            hovertemplate=f"{name}: %{{x:.3f}} [%{{customdata[0]:.3f}}, %{{customdata[1]:.3f}}]"
            "<br>n = %{customdata[2]} tokens<extra></extra>",
        )
    return figure


def _rows(figure: go.Figure, names: list[str]) -> go.Figure:
    figure.update_yaxes(
        tickvals=list(range(len(names))),
        ticktext=names,
        range=[len(names) - 0.5, -0.5],
        showgrid=False,
        zeroline=False,
    )
    return figure
