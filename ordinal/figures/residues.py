"""How well the best latent of each member stands for each residue, beside other moduli."""

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from ordinal.figures.style import OTHER, finish


def residue_map(residues: pd.DataFrame) -> go.Figure:
    """F1 of each member's best latent for each residue: the modulus, a gap, then its controls.

    Args:
        residues: `member`, `modulus`, `residue`, `latent`, `precision`, `recall`, `good`; the
            modulus looked for comes first.
    """
    total = residues["precision"] + residues["recall"]
    f1 = 2 * residues["precision"] * residues["recall"] / total.where(total > 0, 1)
    moduli = list(dict.fromkeys(residues["modulus"]))
    start = dict(zip(moduli, np.cumsum([0, *(m + 1 for m in moduli)]), strict=False))
    offset = [start[modulus] for modulus in residues["modulus"]]
    cells = residues.assign(f1=f1, column=residues["residue"] + offset)
    grid = cells.pivot(index="member", columns="column", values="f1")
    grid = grid.reindex(columns=range(cells["column"].to_numpy().max() + 1))
    hover = np.stack(
        [
            cells.pivot(index="member", columns="column", values=name)
            .reindex(columns=grid.columns)
            .to_numpy(float)
            for name in ("modulus", "residue", "latent", "precision", "recall")
        ],
        axis=-1,
    )
    figure = go.Figure(
        go.Heatmap(
            z=grid.to_numpy(),
            x=grid.columns.to_numpy(),
            y=grid.index.to_numpy(),
            customdata=hover,
            hoverongaps=False,
            zmin=0,
            zmax=1,
            xgap=1,
            ygap=1,
            colorbar=dict(title="F1", thickness=8, len=0.9, x=1.01),
            hovertemplate="member %{y}, %{customdata[1]} mod %{customdata[0]}: latent "
            "%{customdata[2]}<br>precision %{customdata[3]:.2f}, recall %{customdata[4]:.2f} "
            "(worse spelling), F1 %{z:.2f}<extra></extra>",
        )
    )
    good = cells.loc[cells["good"].to_numpy(bool)]
    figure.add_scatter(
        x=good["column"].to_numpy(),
        y=good["member"].to_numpy(),
        mode="markers",
        marker=dict(size=5, color=OTHER),
        hoverinfo="skip",
    )
    finish(figure, height=int(np.clip(110 + 18 * len(grid), 180, 900)), y="member")
    figure.update_layout(margin_t=30)
    for modulus in moduli:
        figure.add_annotation(
            x=start[modulus] + (modulus - 1) / 2,
            y=1,
            yref="paper",
            yanchor="bottom",
            text=f"n mod {modulus}",
            showarrow=False,
        )
    ticks = cells.drop_duplicates("column")
    figure.update_xaxes(
        tickvals=ticks["column"].to_numpy(),
        ticktext=ticks["residue"].astype(str).to_numpy(),
        showgrid=False,
        zeroline=False,
        tickangle=0,
    )
    figure.update_yaxes(showgrid=False, zeroline=False, autorange="reversed")
    return figure
