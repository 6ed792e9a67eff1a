"""How often an edit makes the head say what the edited element's successor is (section 3.3)."""

import pandas as pd
import plotly.graph_objects as go

from ordinal.figures.style import (
    CONTROL,
    SOURCES,
    SYMBOLS,
    error_bars,
    finish,
    label,
    share_axis,
    task_name,
)

CONTROLS = {"random": "line-ns-open", "permuted": "x-thin-open"}


def edit_success(arithmetic: pd.DataFrame, bar: float | None = None) -> go.Figure:
    """Success by task for each source of directions, its controls in grey.

    Args:
        arithmetic: one row a task, source and control: `directions`, `task`, `control`, `success`,
            `success_low`, `success_high`, `n_edits`, `n_tokens`.
        bar: a share to mark with a line.
    """
    tasks = list(dict.fromkeys(arithmetic["task"]))
    sources = list(dict.fromkeys(arithmetic["directions"]))
    figure = go.Figure()
    series = arithmetic[["directions", "control"]].drop_duplicates()
    for source, control in series.itertuples(index=False):
        rows = arithmetic.loc[
            (arithmetic["directions"] == source) & (arithmetic["control"] == control)
        ]
        columns = [rows[c].to_numpy() for c in ("success", "success_low", "success_high")]
        offset = (sources.index(source) - (len(sources) - 1) / 2) * 0.22
        edited = control == "none"
        colour = SOURCES.get(source, CONTROL) if edited else CONTROL
        name = label(source) if edited else f"{label(control)} (control)"
        figure.add_scatter(
            x=columns[0],
            y=[tasks.index(task) + offset for task in rows["task"]],
            mode="markers",
            name=name,
            legendgroup=name,
            showlegend=edited or source == sources[0],
            marker=dict(
                size=9 if edited else 8,
                color=colour,
                symbol=SYMBOLS.get(source, "circle") if edited else CONTROLS[control],
                line_width=0 if edited else 1.5,
            ),
            error_x={**error_bars(*columns), "color": colour} if edited else None,
            customdata=rows[["success_low", "success_high", "n_edits", "n_tokens"]].to_numpy(),
            hovertemplate=f"{label(source)}, {'edits' if edited else label(control)}: %{{x:.3f}} "
            "[%{customdata[0]:.3f}, %{customdata[1]:.3f}]<br>n = %{customdata[2]} edits of "
            "%{customdata[3]} tokens<extra></extra>",
        )
    finish(figure, height=110 + 46 * len(tasks), x="share of edits that succeed", legend=True)
    if bar is not None:
        figure.add_vline(x=bar, line=dict(color=CONTROL, width=1, dash="dot"))
    figure.update_xaxes(**share_axis())
    figure.update_yaxes(
        tickvals=list(range(len(tasks))),
        ticktext=[task_name(task) for task in tasks],
        range=[len(tasks) - 0.5, -0.5],
        showgrid=False,
        zeroline=False,
    )
    return figure
