"""What discovery recovers of a planted truth, as each dial is turned."""

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from eval.dictionaries.trials import DIALS
from lm.planted import REFERENCE
from ordinal.figures.style import CONTROL, HALF, OTHER, RIGHT, error_bars, finish, share_axis

AXES = {
    "noise": "item noise, share of the variance",
    "overlap": "mean |cosine| of the planted directions",
    "numbers": "last number (two spellings each)",
}
_MEASURES = {
    "recall": ("recall", RIGHT, "circle"),
    "precision": ("precision", OTHER, "square"),
    "cosine_contrast": ("cosine of contrasts", HALF, "diamond"),
    "cosine_random": ("best of as many random directions (control)", CONTROL, "diamond-open"),
}


def recovery_curves(planted: pd.DataFrame) -> go.Figure:
    """Recall, precision and cosine over each dial, the others at the reference.

    Args:
        planted: of `eval.dictionaries.trial_tables.planted_table`.
    """
    figure = make_subplots(rows=1, cols=len(AXES), shared_yaxes=True, horizontal_spacing=0.03)
    reference = planted[planted["dial"] == "reference"]
    for panel, dial in enumerate(AXES, start=1):
        here = reference.assign(value=float(getattr(REFERENCE, dial)))
        rows = pd.concat([planted[planted["dial"] == dial], here]).sort_values("value")
        for column, (name, colour, symbol) in _MEASURES.items():
            bars = None
            if f"{column}_low" in rows:
                bars = error_bars(
                    *(rows[f"{column}{end}"].to_numpy() for end in ("", "_low", "_high"))
                )
            figure.add_scatter(
                x=rows["value"],
                y=rows[column],
                mode="lines+markers",
                name=name,
                legendgroup=name,
                showlegend=panel == 1,
                line=dict(color=colour, width=1.5, dash="dot" if colour == CONTROL else "solid"),
                marker=dict(size=8, symbol=symbol, color=colour),
                error_y=bars,
                hovertemplate=f"{dial} %{{x}}<br>{name} %{{y:.3f}}<extra></extra>",
                row=1,
                col=panel,
            )
    finish(figure, height=360, legend=True)
    for panel, (dial, title) in enumerate(AXES.items(), start=1):
        ticks = sorted({*DIALS[dial], float(getattr(REFERENCE, dial))})
        figure.update_xaxes(title_text=title, tickvals=ticks, row=1, col=panel)
    figure.update_yaxes(share_axis())
    return figure
