"""The tick table: which edits of which elements the head answers rightly (section 3.3)."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ordinal.figures.style import CONTROL, HALF, RIGHT, WRONG, finish, label

OUTCOMES = ("fails", "last digit only", "succeeds")
_COLOURS = (WRONG, HALF, RIGHT)
_GLYPHS, _INKS = ("×", "·", "✓"), (CONTROL, "#20242b", "#ffffff")
_SCALE = [[(i + side) / 3, colour] for i, colour in enumerate(_COLOURS) for side in (0, 1)]
PANELS_PER_ROW = 5
_SHOWN = ("outcome", "index", "j", "success", "last_digit", "written", "n")


def outcomes(edits: pd.DataFrame) -> pd.DataFrame:
    """One row for each element and target residue, pooled over spellings and members.

    Args:
        edits: of one source of directions and one control: `task`, `index`, `i`, `j`, `success`,
            `last_digit`, `written`.

    Returns:
        `task`, `index`, `i`, `j`, `success` and `last_digit` (shares), `written` (the most
        frequent), `n`, `outcome` (position in `OUTCOMES`; what at least half of the edits do).
    """
    keys = ["task", "index", "i", "j"]
    cells = edits.groupby(keys, sort=False, as_index=False).agg(
        success=("success", "mean"),
        last_digit=("last_digit", "mean"),
        written=("written", lambda values: values.mode().iloc[0]),
        n=("success", "size"),
    )
    outcome = np.where(cells["success"] >= 0.5, 2, np.where(cells["last_digit"] >= 0.5, 1, 0))
    return cells.assign(outcome=outcome)


def number_ticks(
    cells: pd.DataFrame, modulus: int = 10, *, per_row: int | None = None
) -> go.Figure:
    """All numbers: one panel for each multiple of the modulus, source residue by target residue.

    Args:
        cells: what `outcomes` gives for the numbers.
        modulus: of the residues.
        per_row: panels side by side.
    """
    per_row = per_row or PANELS_PER_ROW
    block = cells["index"].to_numpy() // modulus
    first = int(block.min())
    place = block - first
    rows = place // per_row * (modulus + 2) + cells["i"].to_numpy()
    columns = place % per_row * (modulus + 1) + cells["j"].to_numpy()
    n_rows = (int(place.max()) // per_row + 1) * (modulus + 2) - 2
    n_columns = min(int(place.max()) + 1, per_row) * (modulus + 1) - 1
    figure = go.Figure(_heatmap(cells, rows, columns, (n_rows, n_columns)))
    for here in np.unique(place):
        figure.add_annotation(
            x=here % per_row * (modulus + 1) - 0.5,
            y=here // per_row * (modulus + 2) - 0.6,
            xanchor="left",
            yanchor="bottom",
            text=f"{(first + here) * modulus}&#8211;{(first + here) * modulus + modulus - 1}",
            showarrow=False,
            font_size=10,
        )
    finish(figure, height=int(40 + 10.5 * (n_rows + 2)))
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, range=[n_rows - 0.5, -2.2])
    return figure


def word_ticks(cells: pd.DataFrame, names: dict[int, str], title: str = "") -> go.Figure:
    """One task of words: element by target residue.

    Args:
        cells: what `outcomes` gives for one task.
        names: the word of each index.
    """
    order, rows = np.unique(cells["index"].to_numpy(), return_inverse=True)
    columns, outcome = cells["j"].to_numpy(), cells["outcome"].to_numpy()
    words = [label(names.get(int(index), str(index))) for index in order]
    figure = go.Figure(_heatmap(cells, rows, columns, (len(order), int(columns.max()) + 1)))
    figure.update_traces(y=words)
    for value, (glyph, ink) in enumerate(zip(_GLYPHS, _INKS, strict=True)):
        at = np.flatnonzero(outcome == value)
        figure.add_scatter(
            x=columns[at],
            y=[words[row] for row in rows[at]],
            mode="text",
            text=[glyph] * len(at),
            textfont=dict(color=ink, size=11),
            hoverinfo="skip",
        )
    finish(figure, height=int(70 + 16 * len(words)), title=title, x="target residue")
    figure.update_xaxes(showgrid=False, zeroline=False, dtick=1, tickangle=0)
    figure.update_yaxes(showgrid=False, autorange="reversed", type="category")
    return figure


def _heatmap(
    cells: pd.DataFrame, rows: np.ndarray, columns: np.ndarray, shape: tuple[int, int]
) -> go.Heatmap:
    grids = np.full((*shape, len(_SHOWN)), np.nan)
    grids[rows, columns] = cells[list(_SHOWN)].to_numpy(float)
    return go.Heatmap(
        z=grids[..., 0],
        customdata=grids[..., 1:],
        zmin=-0.5,
        zmax=2.5,
        colorscale=_SCALE,
        showscale=False,
        hoverongaps=False,
        xgap=1,
        ygap=1,
        hovertemplate="element %{customdata[0]}, to residue %{customdata[1]}<br>"
        "succeeds in %{customdata[2]:.0%}, last digit right in %{customdata[3]:.0%} of "
        "%{customdata[5]} edits<br>most often written: %{customdata[4]}<extra></extra>",
    )
