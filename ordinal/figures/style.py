"""What the figures share: colours, fonts, axes, and a template for light and for dark."""

from html import escape

import numpy as np
import plotly.graph_objects as go

RIGHT, HALF, WRONG = "#2f7fc1", "#e09a2b", "rgba(128, 134, 144, 0.28)"
"""Blue, amber, pale grey: told apart by lightness as well as by hue, on white and on black."""
OTHER = "#d1602d"
"""Vermilion, for what should not be there."""
CONTROL = "#868c96"
SOURCES = {"SAE": RIGHT, "class means": "#1f9a7a", "probe": "#a86fb8"}
"""Directions, by where they come from."""
SYMBOLS = {"SAE": "circle", "class means": "square", "probe": "diamond"}

FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Helvetica Neue', Arial, sans-serif"
_INK = {"light": ("#20242b", "#dcdfe4", "#9aa1ab"), "dark": ("#e4e6ea", "#343a44", "#6d7480")}
_SCALES = {
    "light": ["#f4f6f9", "#c5daec", "#7fb0d8", "#2f7fc1", "#0b3c6f"],
    "dark": ["#1c2129", "#1d3c5a", "#2a699f", "#5aa5de", "#d8edff"],
}


def _template(mode: str) -> go.layout.Template:
    ink, grid, axis = _INK[mode]
    scale = [[i / 4, colour] for i, colour in enumerate(_SCALES[mode])]
    lines = dict(gridcolor=grid, zerolinecolor=grid, linecolor=axis, tickcolor=axis)
    surface = "#ffffff" if mode == "light" else "#232831"
    template = go.layout.Template()
    template.layout = go.Layout(
        font=dict(family=FONT, size=12, color=ink),
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        colorway=[RIGHT, OTHER, SOURCES["class means"], SOURCES["probe"], HALF, CONTROL],
        hoverlabel=dict(bgcolor=surface, bordercolor=axis, font=dict(family=FONT, color=ink)),
        xaxis=lines,
        yaxis=lines,
        title=dict(font=dict(size=13), x=0, xref="paper", xanchor="left", pad=dict(l=0, b=6)),
    )
    heatmap = go.Heatmap(colorscale=scale, colorbar=dict(outlinewidth=0))
    template.update(data=dict(heatmap=[heatmap]))
    return template


TEMPLATES = {mode: _template(mode) for mode in _INK}


def finish(
    figure: go.Figure,
    *,
    height: int,
    title: str = "",
    x: str = "",
    y: str = "",
    legend: bool = False,
) -> go.Figure:
    """Give a figure its size, titles and the light template; axes grow with their labels."""
    figure.update_layout(
        template=TEMPLATES["light"],
        height=height,
        margin=dict(l=8, r=8, t=34 if title else 10, b=8),
        showlegend=legend,
        legend=dict(orientation="h", x=0, y=1, yanchor="bottom", xanchor="left"),
        bargap=0.25,
        dragmode=False,
    )
    if title:
        figure.update_layout(title_text=title)
    figure.update_xaxes(title_text=x, automargin=True, fixedrange=True, title_standoff=6)
    figure.update_yaxes(title_text=y, automargin=True, fixedrange=True, title_standoff=6)
    return figure


def share_axis() -> dict:
    """An axis from 0 to 1, with room for marks at the ends."""
    return dict(range=[-0.03, 1.03], tickvals=[0, 0.25, 0.5, 0.75, 1], zeroline=False)


def label(text: str) -> str:
    """Any text as a label: Plotly reads tags and entities in labels, so they are escaped."""
    return escape(str(text).strip(), quote=False)


def task_name(task: str) -> str:
    """`number_words` as `number words`."""
    return label(task.replace("_", " "))


def error_bars(value: np.ndarray, low: np.ndarray, high: np.ndarray) -> dict:
    """Plotly's error bars of a 95% interval."""
    return dict(
        type="data",
        symmetric=False,
        array=np.maximum(high - value, 0),
        arrayminus=np.maximum(value - low, 0),
        thickness=1.2,
        width=3,
    )
