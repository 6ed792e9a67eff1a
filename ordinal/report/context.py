"""What the report's section about prompts shows: the head in context, and edits there."""

import numpy as np
import pandas as pd

from ordinal.figures.context import PATHS, edit_paths, head_effects
from ordinal.printed.context import RANDOM_SUBSPACE
from ordinal.report.sections import Section
from ordinal.report.tables import Table, from_frame, interval, number
from ordinal.run_folder import Run


def in_context(run: Run) -> Section:
    """Both tables of `study_context`; the reason where no prompt was run."""
    table, edits = run.table("in_context"), run.table("context_edits")
    if table.empty:
        return {"not_testable": table.attrs["not_testable"]}
    section: Section = {
        "not_testable": None,
        "left_out": table.loc[table["n_prompts"] == 0].to_dict("records"),
        "families": None,
        "edits": _edits(edits) if len(edits) else None,
        "first_layer": run.head.layer == 0,
    }
    asked = table[table["n_prompts"] > 0]
    if len(asked):
        section["families"] = _families(asked)
    return section


def _families(asked: pd.DataFrame) -> Section:
    every = asked[asked["task"] == "all"]
    right = {"family": "prompts", "accuracy": "right [95%]"}
    right |= {"ablated_accuracy": "head ablated [95%]", "control_accuracy": "next head [95%]"}
    right |= {"n_tokens": "tokens", "n_prompts": "prompts"}
    effects = {"family": "prompts", "margin": "margin [95%]", "direct": "direct [95%]"}
    effects |= {"total": "total [95%]", "control_total": "next head [95%]"}
    effects |= {"compensated": "compensated [95%]", "n_tokens": "tokens"}
    weights = {"family": "prompts", "agreement": "agreement [95%]"}
    weights |= {"agreement_shuffled": "shuffled [95%]", "attention": "attention [95%]"}
    weights |= {"n_tokens": "tokens"}
    shares = ["accuracy", "ablated_accuracy", "control_accuracy"]
    means = ["margin", "direct", "total", "control_total", "compensated"]
    by_task = asked[asked["task"] != "all"].assign(task=lambda t: t["task"].str.replace("_", " "))
    tasks = {"family": "prompts", "task": "task"}
    needed = every["ablated_accuracy_high"] < every["control_accuracy_low"]
    foreseen = every["agreement_low"] > every["agreement_shuffled_high"]
    return {
        "effects": head_effects(every),
        "right": from_frame(every, right, shares),
        "margins": from_frame(every, effects, means),
        "weights": from_frame(every, weights, ["agreement", "agreement_shuffled", "attention"]),
        "tasks": from_frame(by_task, {**tasks, **right}, shares, n_text=2),
        "task_margins": from_frame(by_task, {**tasks, **effects}, means, n_text=2),
        "templates": [
            (row["family"], row["templates"].split(" | ")) for row in every.to_dict("records")
        ],
        "n": len(every),
        "n_needed": int(needed.sum()),
        "n_foreseen": int(foreseen.sum()),
        "made_up": every.loc[every["compensated_low"] > 0, "family"].tolist(),
        "added_to": every.loc[every["compensated_high"] < 0, "family"].tolist(),
    }


def _edits(edits: pd.DataFrame) -> Section:
    every = edits[(edits["task"] == "all") & (edits["family"] == "all")]
    meant = every[every["directions"] != RANDOM_SUBSPACE]
    above = [meant[f"{path}_low"] > meant[f"random_{path}_high"] for path in PATHS]
    n_above = int(np.sum(above))
    return {
        "paths": edit_paths(every),
        "table": _table(every, []),
        "families": _table(
            edits[(edits["task"] == "all") & (edits["family"] != "all")], ["family"]
        ),
        "tasks": _table(edits[(edits["task"] != "all") & (edits["family"] == "all")], ["task"]),
        "n": len(meant) * len(PATHS),
        "n_not_above": len(meant) * len(PATHS) - n_above,
    }


def _table(edits: pd.DataFrame, keys: list[str]) -> Table:
    """A row for each operator and key: every path, beside random vectors on the same path."""
    rows = []
    for row in edits.to_dict("records"):
        cells = [str(row[key]).replace("_", " ") for key in ("operator", "directions", *keys)]
        for figure in ("weights", *PATHS):
            cells.append(interval(row[figure], row[f"{figure}_low"], row[f"{figure}_high"]))
        cells.append(number(max(row[f"random_{path}"] for path in PATHS)))
        cells += [number(row[name]) for name in ("clean", "scale", "n_tokens", "n_prompts")]
        rows.append(cells)
    headings = ["operator", "directions", *keys, "M(t) [95%]", "values, direct [95%]"]
    headings += ["values, total [95%]", "everywhere [95%]", "random, at most", "unedited right"]
    return Table([*headings, "scale", "tokens", "prompts"], rows, 2 + len(keys))
