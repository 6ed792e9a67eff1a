"""One image of the main result: features that tell numbers apart, and edits that change them."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from ordinal.figures.style import finish
from ordinal.figures.ticks import number_ticks

FIRST, LAST = 0, 99


def overview(
    activations: pd.DataFrame, edits: pd.DataFrame, control: pd.DataFrame, modulus: int = 10
) -> go.Figure:
    """Activations of the residue features, the tick table of their edits, and the random control.

    Args:
        activations: of the numbers: `index`, `residue` (the feature's), `value`; over spellings,
            the smaller value counts.
        edits: the numbers of what `figures.ticks.outcomes` gives.
        control: the same for random vectors.
        modulus: of the residues.
    """
    figure = make_subplots(
        rows=3,
        cols=1,
        row_heights=[0.34, 0.33, 0.33],
        vertical_spacing=0.1,
        subplot_titles=[
            f"Features of n mod {modulus}: activation over the numbers {FIRST} to {LAST}",
            "M(n) + k (f<sub>j</sub> − f<sub>i</sub>): the head then says the edited number's "
            "successor (blue), its last digit only (amber), or neither (grey)",
            "Control: the same with random vectors of the same length",
        ],
    )
    shown = activations.loc[activations["index"].between(FIRST, LAST)]
    strips = shown.pivot_table(index="residue", columns="index", values="value", aggfunc="min")
    strips = strips.div(np.maximum(strips.max(axis=1), 1e-9), axis=0)
    figure.add_trace(
        go.Heatmap(
            z=strips.to_numpy(),
            x=strips.columns.to_numpy(),
            y=[f"f<sub>{residue}</sub>" for residue in strips.index],
            showscale=False,
            ygap=2,
        ),
        row=1,
        col=1,
    )
    for row, cells in ((2, edits), (3, control)):
        panels = number_ticks(
            cells.loc[cells["index"].between(FIRST, LAST)], modulus, per_row=LAST // modulus + 1
        )
        figure.add_traces(panels.data, rows=row, cols=1)
        for note in panels.layout.annotations:
            figure.add_annotation(note, row=row, col=1)
        figure.update_yaxes(range=[modulus - 0.5, -2], row=row, col=1)
    finish(figure, height=580)
    figure.update_layout(margin=dict(t=30, l=8, r=8, b=8))
    figure.update_xaxes(showgrid=False, zeroline=False)
    figure.update_yaxes(showgrid=False, autorange="reversed", row=1, col=1)
    for row in (2, 3):
        figure.update_xaxes(visible=False, row=row, col=1)
        figure.update_yaxes(visible=False, row=row, col=1)
    figure.update_annotations(selector=dict(xref="paper"), x=0, xanchor="left", font_size=13)
    return figure
