"""The head's logits, token by token: successors make a line beside the diagonal (section 2)."""

from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ordinal.figures.style import OTHER, finish, label

LARGEST = 201
"""Tokens shown along an axis; of longer tasks the first ones."""


def logit_map(logits: pd.DataFrame) -> go.Figure:
    """Source by candidate, with a mark on the highest candidate of each source.

    Args:
        logits: of one task in one spelling: `source`, `candidate`, `logit`, in the order of the
            task.
    """
    order = list(dict.fromkeys(logits["source"]))
    grid = logits.pivot(index="source", columns="candidate", values="logit")
    z = grid.loc[order, order].to_numpy()
    names = [label(text) for text in order]
    numeric = all(name.isdigit() for name in names)
    axis = np.array([int(name) for name in names]) if numeric else np.array(names)
    top = z.argmax(1)
    z, shown = z[:LARGEST, :LARGEST], np.flatnonzero(top[:LARGEST] < LARGEST)
    figure = go.Figure(
        go.Heatmap(
            z=z,
            x=axis[:LARGEST],
            y=axis[:LARGEST],
            colorbar=dict(title="logit", thickness=8, len=0.9, x=1.01),
            hovertemplate="%{y} &#8594; %{x}: %{z:.2f}<extra></extra>",
        )
    )
    figure.add_scatter(
        x=axis[top[shown]],
        y=axis[shown],
        mode="markers",
        marker=dict(size=max(3, min(9, 220 // len(z))), color=OTHER, symbol="circle"),
        hovertemplate="%{y}: highest is %{x}<extra></extra>",
    )
    finish(figure, height=int(np.clip(110 + 18 * len(z), 260, 620)), x="candidate", y="token read")
    kind: dict[str, Any] = {"type": "linear" if numeric else "category"}
    kind |= {"showgrid": False, "zeroline": False}
    ends = [axis[0] - 0.5, axis[len(z) - 1] + 0.5] if numeric else [-0.5, len(z) - 0.5]
    figure.update_xaxes(range=ends, **kind)
    figure.update_yaxes(range=ends[::-1], **kind)
    return figure
