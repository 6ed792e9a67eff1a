"""What the report's section about controls shows: other behaviours, order, and dissociation."""

import numpy as np
import pandas as pd

from eval.heads.greater_than import EVERY_CYCLE, EVERY_TASK, HEAD, NO_HEAD
from eval.heads.induction import INDUCTION, MOST
from eval.heads.role_readouts import COPYING
from eval.patching.lesions import MATCHED
from ordinal.report.sections import Section
from ordinal.report.tables import NOTHING, Table, from_frame, interval, number
from ordinal.run_folder import Run


def controls(run: Run) -> Section:
    """Every table about what else the head does, and what else the directions do."""
    roles, mod = run.table("head_roles"), f"mod-{run.config.features.modulus}"
    contrasts = run.table("dissociation_contrasts")
    return {
        "behaviours": _behaviours(run.table("behaviours")),
        "greater_than": _greater_than(run.table("greater_than"), mod),
        "dissociation": _dissociation(run.table("dissociation"), contrasts),
        "copying": _copying(run.table("dissociation"), roles, mod),
        "roles": _roles(roles),
        "mod": mod,
    }


def _behaviours(table: pd.DataFrame) -> Section:
    roles = list(table["role"].unique())
    every = table[table["task"] == EVERY_TASK]
    rows = []
    for behaviour, found in every.groupby("behaviour", sort=False):
        first = found.iloc[0]
        scores = [
            interval(row["score"], row["score_low"], row["score_high"])
            for row in found.to_dict("records")
        ]
        ends = [number(float(first["chance"])), number(float(first["p_value"]))]
        counts = [number(int(first[name])) for name in ("n_tokens", "n_clusters")]
        rows.append([str(behaviour), *scores, *ends, *counts])
    headings = ["behaviour", *(f"{role} [95%]" for role in roles)]
    headings += ["chance", f"p, {roles[0]}", "tokens", "elements"]
    own = table[(table["role"] == roles[0]) & (table["task"] != EVERY_TASK)]
    columns = {"behaviour": "behaviour", "task": "task", "score": "score [95%]"}
    columns |= {"chance": "chance", "p_value": "p", "n_tokens": "tokens", "n_clusters": "elements"}
    own = own.assign(task=own["task"].str.replace("_", " "))
    rival = every[(every["role"] == "runner-up") & (every["behaviour"] == "succession")].iloc[0]
    others = every[(every["role"] == roles[0]) & (every["behaviour"] != "succession")]
    above = others.loc[others["p_value"] < 0.05, "behaviour"].tolist()
    return {
        "table": Table(headings, rows),
        "tasks": from_frame(own, columns, ["score"], n_text=2),
        "ratio": interval(rival["ratio"], rival["ratio_low"], rival["ratio_high"]),
        "above": above,
    }


def _greater_than(table: pd.DataFrame, mod: str) -> Section | None:
    if table.empty:
        return None
    source = next((name for name in table["directions"] if name), "")
    shown = table[table["directions"].isin(["", source])]
    readings = {HEAD: "by the head", NO_HEAD: "without it", f"{mod} removed": f"without {mod}"}
    readings |= {"ordinal removed": "without order", f"{MATCHED} removed": "without random"}
    readings = {name: title for name, title in readings.items() if name in set(shown["reading"])}
    wide = {
        name: {row["task"]: row for row in rows.to_dict("records")}
        for name, rows in shown.groupby("reading")
    }
    rows = []
    for task, head in wide[HEAD].items():
        found = [wide[name].get(task) for name in readings]
        cells = [
            interval(row["auc"], row["auc_low"], row["auc_high"]) if row else NOTHING
            for row in found
        ]
        name = str(task).replace("_", " ") + (
            " (goes round)" if head["cyclic"] and task != EVERY_CYCLE else ""
        )
        ends = [number(float(head["permuted_95"])), number(float(head["p_value"]))]
        rows.append([name, *cells, *ends, number(int(head["n_tokens"]))])
    headings = ["task", *(f"{title} [95%]" for title in readings.values())]
    every = table[table["task"].isin([EVERY_TASK, EVERY_CYCLE])]
    columns = {"directions": "directions", "reading": "read", "task": "tasks", "auc": "AUC [95%]"}
    columns |= {"change": "change [95%]", "permuted_95": "permuted, 95%", "p_value": "p"}
    columns |= {"n_tokens": "tokens", "n_elements": "elements"}
    judged = [row for task, row in wide[HEAD].items() if task not in (EVERY_TASK, EVERY_CYCLE)]
    return {
        "table": Table([*headings, "permuted, 95%", "p", "tokens"], rows),
        "readings": from_frame(every, columns, ["auc", "change"], n_text=3),
        "source": source,
        "n_above": sum(row["p_value"] < 0.05 for row in judged),
        "n": len(judged),
        "least": number(min(row["auc"] for row in judged)),
        "most": number(max(row["auc"] for row in judged)),
    }


def _dissociation(table: pd.DataFrame, contrasts: pd.DataFrame) -> Section | None:
    if table.empty:
        return None
    columns = {"directions": "directions", "contrast": "drop under … less drop under …"}
    columns |= {"readout": "of", "value": "difference [95%]", "n_tokens": "tokens"}
    columns |= {"n_elements": "elements"}
    verdicts: dict[bool, list[str]] = {True: [], False: []}
    for source, rows in contrasts.groupby("directions", sort=False):
        crossed = rows[~rows["less"].eq(MATCHED)]
        holds = len(crossed) == 2 and bool((crossed["low"] > 0).all())
        verdicts[holds].append(str(source))
    by_source = {str(source): rows for source, rows in table.groupby("directions", sort=False)}
    first, *others = by_source
    return {
        "source": first,
        "table": _wide(by_source[first]),
        "others": [(source, _wide(by_source[source])) for source in others],
        "contrasts": from_frame(contrasts.rename(columns=_ENDS), columns, ["value"], n_text=3),
        "hold": verdicts[True],
        "fail": verdicts[False],
        "changes": from_frame(
            by_source[first].rename(columns=_ENDS), _CHANGES, ["value", "change"], n_text=2
        ),
    }


def _copying(table: pd.DataFrame, roles: pd.DataFrame, mod: str) -> Section | None:
    """Whether the copying head copies at all, and whether it still does without the residues."""
    if table.empty:
        return None
    rows = table[(table["readout"] == COPYING) & (table["removed"] == mod)].to_dict("records")
    heads = roles[(roles["readout"] == COPYING) & (roles["role"] == "copying head")]
    head = heads.to_dict("records")[0]
    row = rows[0]
    return {
        "copies": head["low"] > head["chance"],
        "spared": row["change_high"] >= 0,
        "before": interval(head["value"], head["low"], head["high"]),
        "after": interval(row["value"], row["low"], row["high"]),
        "chance": number(float(head["chance"])),
        "n": number(int(head["n_tokens"])),
    }


_ENDS = {"low": "value_low", "high": "value_high"}
_CHANGES = {"removed": "removed", "readout": "asked", "before": "before", "value": "after [95%]"}
_CHANGES |= {"change": "change [95%]", "chance": "chance", "rank": "rank"}
_CHANGES |= {"variance_removed": "variance removed", "n_tokens": "tokens"}


def _wide(table: pd.DataFrame) -> Table:
    """Removals by questions; what is there before, chance and n as rows of their own."""
    asked = list(table["readout"].unique())
    first = table.drop_duplicates("readout").set_index("readout").loc[asked]
    rows = [["nothing", *(number(float(value)) for value in first["before"])]]
    for removed, found in table.groupby("removed", sort=False):
        found = found.set_index("readout").reindex(asked).to_dict("records")
        rows.append([str(removed), *(interval(r["value"], r["low"], r["high"]) for r in found)])
    rows.append(["chance", *(number(float(value)) for value in first["chance"])])
    rows.append(["tokens", *(number(int(value)) for value in first["n_tokens"])])
    return Table(["removed", *asked], rows)


def _roles(table: pd.DataFrame) -> Section:
    asked = list(table["readout"].unique())
    rows = []
    for role, found in table.groupby("role", sort=False):
        cells = found.set_index("readout").reindex(asked).to_dict("records")
        layer, head = (int(found[name].iloc[0]) for name in ("layer", "head"))
        values = [interval(cell["value"], cell["low"], cell["high"]) for cell in cells]
        rows.append([f"{role}, L{layer}H{head}", *values])
    first = table.drop_duplicates("readout").set_index("readout").loc[asked]
    rows.append(["chance", *(number(float(value)) for value in first["chance"])])
    rows.append(["tokens", *(number(int(value)) for value in first["n_tokens"])])
    found = table[(table["readout"] == INDUCTION) & (table["role"] == "induction head")]
    shown = (found["low"] > found["chance"]) & (found["value"] > MOST)
    attends = None if found.empty else bool(np.all(shown))
    return {"table": Table(["head", *asked], rows), "attends": attends}
