"""Draws up checkpoints.html: the curves over training, and their figures."""

from collections.abc import Sequence
from pathlib import Path

from lm.files import replacing
from ordinal.checkpoint_study import OverTraining
from ordinal.figures.over_training import curves_over_training
from ordinal.report.page import fill
from ordinal.report.tables import from_frame

SUCCESSION = {
    "label": "checkpoint",
    "best": "best head",
    "score": "on the other half",
    "runner_up": "next head",
    "fixed_score": "fixed head",
    "n_tokens": "n",
    "without_head": "no head",
    "n_without_head": "n",
    "chance": "guessing",
}
RESIDUES = {
    "label": "checkpoint",
    "probe": "probe",
    "probe_permuted": "permuted",
    "probe_permuted_95": "permuted, 95%",
    "n_numbers": "n",
    "power": "power at 10",
    "power_permuted_95": "permuted, 95%",
    "edits": "exact edits",
    "edits_random": "random vectors",
    "n_edited": "n",
}


def write_over_training(studied: OverTraining, lines: Sequence[str]) -> Path:
    """Write `checkpoints.html` into the study's folder.

    Args:
        studied: what was measured.
        lines: what it comes to.
    """
    table, series = studied.table, studied.series
    heads = zip(table["layer"], table["head"], strict=True)
    shown = table.assign(
        best=[f"L{layer}H{head}" for layer, head in heads],
        **{name: table[name].astype("Int64") for name in ("n_numbers", "n_edited")},
    )
    testable = bool(table["probe"].notna().any())
    axis = "number in the checkpoint’s name" if series.has_steps else "checkpoint, in order"
    page = fill(
        "checkpoints.html",
        name=series.name,
        n_checkpoints=len(table),
        figure=curves_over_training(table, series.positions, axis),
        lines=lines,
        succession=from_frame(
            shown, SUCCESSION, ["score", "fixed_score", "without_head"], n_text=2
        ),
        residues=from_frame(shown, RESIDUES, ["probe", "edits", "edits_random"])
        if testable
        else None,
        reason=table["not_testable"].iloc[-1].rstrip("."),
    )
    path = studied.folder / "checkpoints.html"
    with replacing(path) as partial:
        partial.write_text(page, encoding="utf-8")
    return path
