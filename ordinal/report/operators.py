"""What the report says of the operators: which edit to use, at what dose, beside what rivals."""

import pandas as pd

from eval.patching.ablation import RANDOM
from eval.patching.arithmetic import headline_edits
from ordinal.figures.doses import dose_curves
from ordinal.report.sections import Section
from ordinal.report.tables import Table, from_frame, interval, number
from ordinal.run_folder import Run


def operators(run: Run) -> Section:
    """Every operator by task, dose-response, and rival explanations."""
    arithmetic = run.table("arithmetic")
    if arithmetic.empty:
        return {}
    effects = {"kind": "kind", "what": "what", "full": "whole effect on the margin, sd [95%]"}
    effects |= {"at_half": "share of it at half the dose", "half_dose": "dose for half of it"}
    effects |= {"n_tokens": "numbers"}
    rivals = {"directions": "rival", "task": "task", "success": "edits exact [95%]"}
    rivals |= {"scale": "scale", "n_edits": "edits", "n_tokens": "tokens"}
    of_numbers = headline_edits(run.table("rivals")).sort_values("directions", kind="stable")
    with_ends = ["full", "at_half", "half_dose"]
    return {
        "table": _by_task(headline_edits(arithmetic, None)),
        "doses": dose_curves(run.table("doses")),
        "effects": from_frame(run.table("dose_effects"), effects, with_ends, n_text=2),
        "rivals": from_frame(of_numbers, rivals, ["success"], n_text=2),
        "random": RANDOM,
    }


def _by_task(edits: pd.DataFrame) -> Table:
    """Each task and source of directions, with every operator and its controls."""
    rows = []
    keys = ["task", "operator", "directions"]
    for (task, operator, source), part in edits.groupby(keys, sort=False):
        by_control = {row["control"]: row for row in part.to_dict("records")}
        edit = by_control["none"]
        printed = interval(edit["success"], edit["success_low"], edit["success_high"])
        controls = [number(by_control[name]["success"]) for name in ("random", "permuted")]
        figures = ("fitted", "last_digit", "scale", "rank", "n_edits", "n_tokens")
        row = [str(task).replace("_", " "), str(operator), str(source), printed, *controls]
        rows.append([*row, *(number(edit[name]) for name in figures)])
    headings = ["task", "operator", "directions", "exact [95%]", "random", "other residues"]
    headings += ["where chosen", "last digit", "scale", "rank", "edits", "tokens"]
    return Table(headings, sorted(rows, key=lambda row: row[0]), 3)
