"""Dose-response: how much of an ablation, or of an edit, does how much."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from torch import Tensor

from eval.patching.ablation import removals
from eval.patching.edits import held_out_edits
from eval.patching.operators import Operator
from eval.patching.readout import Readout, margin
from eval.patching.subspaces import remove
from features.directions import ResidueDirections
from features.statistics import bootstrap_means
from training.activations import Activations

DOSES = tuple(np.linspace(0, 2, 21).round(1).tolist())
"""1 is the whole ablation, and the edit at the scale that was chosen for it; 2 is twice that."""
HALF = DOSES.index(0.5)
FULL = DOSES.index(1.0)
RANDOM_SUBSPACES = 5
"""Draws for each set, as a control."""


class DoseResponse(NamedTuple):
    """The curves, and where they stand at half of the dose."""

    curves: pd.DataFrame
    """One row per curve and dose: `kind` (`removal` or `edit`), `directions`, `what` (is removed,
    or which operator), `dose`, `share` of tokens or edits that are right with its 95% interval
    `share_low`, `share_high`, `margin` with its own (the right token's logit above the next best,
    in standard deviations of the unedited logits), `n_tokens`."""
    effects: pd.DataFrame
    """One row per curve: `full`, the change of the margin at dose 1; `at_half`, the share of it
    that is there at dose 0.5; `half_dose`, the dose at which half of it is; each with its 95%
    interval (NaN where there is no effect to halve); `n_tokens`."""


class _Curve(NamedTuple):
    kind: str
    directions: str
    what: str
    share: Float[np.ndarray, "doses rows"]
    margin: Float[np.ndarray, "doses rows"]
    index: Int[np.ndarray, " rows"]
    token: Int[np.ndarray, " rows"]
    """Rows of the `OrdinalTokens`."""


def dose_response(
    sets: Sequence[ResidueDirections],
    operators: Sequence[Operator],
    activations: Activations,
    readouts: Sequence[Readout],
    *,
    seed: int = 0,
) -> DoseResponse:
    """Ablation and edits of held-out numbers, from nothing to twice their dose.

    Args:
        sets: of one source; their spans are removed, to the mean, and the tens and random subspaces
            of the same variance beside them.
        operators: bound to sets of any sources; those of one source and name make one curve.
        activations: M(t).
        readouts: of the chosen head; those of numbers are used.
        seed: of the controls and the bootstrap.
    """
    numbers = [readout for readout in readouts if readout.task == "numbers"]
    parts: dict[tuple[str, str, str], list[_Curve]] = {}
    for number, directions in enumerate(sets):
        for curve in _removal_curves(directions, activations, numbers, seed + number):
            parts.setdefault(curve[:3], []).append(curve)
    for operator in operators:
        for curve in _edit_curves(operator, activations, numbers):
            parts.setdefault(curve[:3], []).append(curve)
    curves, effects = [], []
    for key, found in parts.items():
        pooled = _Curve(
            *key,
            np.concatenate([curve.share for curve in found], 1),
            np.concatenate([curve.margin for curve in found], 1),
            np.concatenate([curve.index for curve in found]),
            np.concatenate([curve.token for curve in found]),
        )
        curve, effect = _measured(pooled, seed)
        curves.append(curve)
        effects.append(effect)
    return DoseResponse(pd.concat(curves, ignore_index=True), pd.DataFrame(effects))


def _removal_curves(
    directions: ResidueDirections,
    activations: Activations,
    numbers: Sequence[Readout],
    seed: int,
) -> list[_Curve]:
    x = activations.x
    is_number = torch.tensor((activations.tokens.table["task"] == "numbers").to_numpy())
    mean = x[is_number & ~directions.held_out].mean(0)
    out = []
    for removal in removals(directions, activations, RANDOM_SUBSPACES, seed):
        if removal.name.endswith("contrasts"):
            continue
        for readout in numbers:
            held_out = directions.held_out[readout.rows].numpy()
            positions = readout.sources[held_out[readout.sources]]
            m = x[readout.rows[positions]]
            before = readout.circuit.logits(m)
            change = readout.circuit.logits(remove(m, removal.basis, mean)) - before
            targets = torch.from_numpy(readout.successor[positions])
            margins = [_standardised(before + dose * change, targets, before) for dose in DOSES]
            about = ("removal", directions.source, removal.name)
            out.append(_curve(*about, margins, readout, positions))
    return out


def _edit_curves(
    operator: Operator, activations: Activations, numbers: Sequence[Readout]
) -> list[_Curve]:
    out = []
    for one, _, edits, choices in held_out_edits(operator, activations, numbers):
        scale = torch.tensor([choice.scale for choice in choices])[:, None]
        expected, before = torch.from_numpy(edits.expected), one.base[edits.source]
        margins = [
            _standardised(one.logits(edits, dose * scale), expected, before) for dose in DOSES
        ]
        about = ("edit", operator.directions.source, operator.name)
        out.append(_curve(*about, margins, one.readout, edits.source))
    return out


def _standardised(
    logits: Float[Tensor, "rows candidates"],
    targets: Int[Tensor, " rows"],
    before: Float[Tensor, "rows candidates"],
) -> Float[Tensor, " rows"]:
    return margin(logits, targets) / before.std(1)


def _curve(
    kind: str,
    source: str,
    what: str,
    margins: list[Tensor],
    readout: Readout,
    positions: Int[np.ndarray, " rows"],
) -> _Curve:
    values = torch.stack(margins).numpy()
    tokens = readout.rows.numpy()[positions]
    return _Curve(kind, source, what, values > 0, values, readout.index[positions], tokens)


def _measured(curve: _Curve, seed: int) -> tuple[pd.DataFrame, dict[str, float | int | str]]:
    about = {"kind": curve.kind, "directions": curve.directions, "what": curve.what}
    n = len(np.unique(curve.token))
    share = bootstrap_means(curve.share.astype(float), curve.index, seed=seed)
    margins = bootstrap_means(curve.margin, curve.index, seed=seed)
    (low, high), ends = share.interval(), np.percentile(margins.draws, [2.5, 97.5], axis=0)
    table = pd.DataFrame(
        {
            **about,
            "dose": DOSES,
            "share": share.estimate,
            "share_low": low,
            "share_high": high,
            "margin": margins.estimate,
            "margin_low": ends[0],
            "margin_high": ends[1],
            "n_tokens": n,
        }
    )
    effect: dict[str, float | int | str] = {**about}
    with np.errstate(invalid="ignore", divide="ignore"):
        drawn = [_effect(draw) for draw in margins.draws]
        measured = [_effect(margins.estimate), *np.percentile(drawn, [2.5, 97.5], axis=0)]
    if measured[1][0] <= 0 <= measured[2][0]:
        measured = [[full, np.nan, np.nan] for full, *_ in measured]
    for end, values in zip(("", "_low", "_high"), measured, strict=True):
        for name, value in zip(("full", "at_half", "half_dose"), values, strict=True):
            effect[name + end] = float(value)
    return table, effect | {"n_tokens": n}


def _effect(margin: Float[np.ndarray, " doses"]) -> tuple[float, float, float]:
    """Change at dose 1, its share at dose 0.5, and the first dose at which half of it is there."""
    share = (margin[: FULL + 1] - margin[0]) / (margin[FULL] - margin[0])
    after = int(np.argmax(share >= 0.5))
    between = (0.5 - share[after - 1]) / (share[after] - share[after - 1])
    half = DOSES[after - 1] + between * (DOSES[after] - DOSES[after - 1])
    return float(margin[FULL] - margin[0]), float(share[HALF]), float(half)
