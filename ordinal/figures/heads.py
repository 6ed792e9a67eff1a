"""Which head computes succession, and what there is without it (section 2)."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ordinal.figures.style import CONTROL, OTHER, RIGHT, error_bars, finish, share_axis, task_name

WRITE_VALUES_UP_TO = 64
"""Heads; in a larger map the figures would not fit into the cells."""


def head_map(heads: pd.DataFrame, best: tuple[int, int]) -> go.Figure:
    """Successor scores, layer by head, the chosen head framed.

    Args:
        heads: `layer`, `head`, `score`, `score_low`, `score_high`, `pooled`, `n_tokens`.
        best: layer and head of the chosen one.
    """
    grids = {
        name: heads.pivot(index="layer", columns="head", values=name).sort_index()
        for name in ("score", "score_low", "score_high", "pooled", "n_tokens")
    }
    score = grids["score"]
    hover = np.stack([grids[n].to_numpy(float) for n in list(grids)[1:]], axis=-1)
    figure = go.Figure(
        go.Heatmap(
            z=score.to_numpy(),
            x=score.columns.to_numpy(),
            y=score.index.to_numpy(),
            customdata=hover,
            zmin=0,
            zmax=1,
            xgap=1,
            ygap=1,
            texttemplate="%{z:.2f}" if len(heads) <= WRITE_VALUES_UP_TO else None,
            colorbar=dict(title="score", thickness=8, len=0.9, x=1.01),
            hovertemplate="L%{y}H%{x}: %{z:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]"
            "<br>pooled over tokens %{customdata[2]:.3f}, n = %{customdata[3]} tokens"
            "<extra></extra>",
        )
    )
    layer, head = best
    figure.add_shape(
        type="rect",
        x0=head - 0.5,
        x1=head + 0.5,
        y0=layer - 0.5,
        y1=layer + 0.5,
        line=dict(color=OTHER, width=2),
    )
    finish(figure, height=max(190, 90 + 22 * len(score)), x="head", y="layer")
    figure.update_xaxes(showgrid=False, zeroline=False, dtick=max(1, score.shape[1] // 16))
    figure.update_yaxes(
        showgrid=False, zeroline=False, autorange="reversed", dtick=max(1, len(score) // 16)
    )
    return figure


def task_scores(tasks: pd.DataFrame) -> go.Figure:
    """The chosen head's score in each task, its runner-up's, and what guessing gives.

    Args:
        tasks: `task`, `score`, `low`, `high`, `runner_up`, `chance`, `n_tokens`, `n_elements`.
    """
    names = [task_name(task) for task in tasks["task"]]
    figure = go.Figure()
    figure.add_bar(
        y=names,
        x=tasks["score"].to_numpy(),
        orientation="h",
        name="the head",
        marker_color=RIGHT,
        error_x=error_bars(*(tasks[c].to_numpy() for c in ("score", "low", "high"))),
        customdata=tasks[["low", "high", "n_tokens", "n_elements"]].to_numpy(),
        hovertemplate="%{y}: %{x:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]"
        "<br>%{customdata[2]} tokens of %{customdata[3]} elements<extra></extra>",
    )
    figure.add_bar(
        y=names,
        x=tasks["runner_up"].to_numpy(),
        orientation="h",
        name="runner-up",
        marker_color=CONTROL,
        hovertemplate="%{y}, runner-up: %{x:.3f}<extra></extra>",
    )
    figure.add_scatter(
        y=names,
        x=tasks["chance"].to_numpy(),
        mode="markers",
        name="guessing",
        marker=dict(symbol="line-ns-open", size=14, color=OTHER, line_width=2),
        hovertemplate="%{y}, guessing: %{x:.3f}<extra></extra>",
    )
    finish(figure, height=90 + 38 * len(tasks), x="share of successors on top", legend=True)
    figure.update_xaxes(**share_axis())
    figure.update_yaxes(autorange="reversed")
    return figure


def readings(table: pd.DataFrame) -> go.Figure:
    """The score of each way to read succession: with the head, and without.

    Args:
        table: `read`, `score`, `score_low`, `score_high`, `n_tokens`, `control` (bool).
    """
    columns = [table[c].to_numpy() for c in ("score", "score_low", "score_high")]
    figure = go.Figure(
        go.Scatter(
            y=table["read"],
            x=columns[0],
            mode="markers",
            marker=dict(
                size=10,
                color=[CONTROL if c else RIGHT for c in table["control"]],
                symbol=["circle-open" if c else "circle" for c in table["control"]],
                line_width=[2 if c else 0 for c in table["control"]],
            ),
            error_x={**error_bars(*columns), "color": CONTROL},
            customdata=table[["score_low", "score_high", "n_tokens"]].to_numpy(),
            hovertemplate="%{y}: %{x:.3f} [%{customdata[0]:.3f}, %{customdata[1]:.3f}]"
            "<br>n = %{customdata[2]} tokens<extra></extra>",
        )
    )
    finish(figure, height=90 + 30 * len(table), x="successor score")
    figure.update_xaxes(**share_axis())
    figure.update_yaxes(autorange="reversed", type="category")
    return figure
