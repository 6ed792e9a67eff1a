"""What the report's section about structure shows: circles, cycles, parts, seeds, witnesses."""

import numpy as np
import pandas as pd

from eval.patching.importance import PAPER as MODAL_PAPER
from features.structure.matching import BAR
from ordinal.figures.structure import number_circle, spectrum
from ordinal.printed.structure import PROBE_PAPER
from ordinal.report.sections import Section
from ordinal.report.tables import Table, from_frame, interval, number
from ordinal.run_folder import Run


def structure(run: Run) -> Section:
    """Every table of `structure/`, and the witnesses; what was not testable with its reason."""
    tables, modulus = run.structure_tables(), run.config.features.modulus
    parts = (_circle, _cycles, _decoding, _span, _matching)
    section: Section = {
        "left_out": tables["left_out"].to_dict("records"),
        "probe_paper": PROBE_PAPER,
        "modal_paper": f"{MODAL_PAPER:.1%}",
        "bar": BAR,
    }
    for part in parts:
        section[part.__name__.strip("_")] = part(tables, modulus)
    return section | {"witnesses": _witnesses(run), "modal": _modal(run)}


def _circle(tables: dict[str, pd.DataFrame], modulus: int) -> Section | None:
    if "spectrum" not in tables:
        return None
    columns = {"period": "period", "power": "share of variance", "null_mean": "shuffled, mean"}
    columns |= {"null_95": "shuffled, 95%", "p_value": "p", "n": "numbers"}
    fits = {"fit": "fit", "r2": "R² [95%], left out", "r2_line": "line alone"}
    fits |= {"r2_random_95": "other periods, 95%", "p_value": "p"}
    fits |= {"axis_ratio": "axis ratio", "n": "numbers"}
    fourier, fitted = tables["fourier"], tables["helices"]
    fitted = fitted.assign(axis_ratio=fitted["axis_ratio"].round(6))
    above = fourier["power"] > fourier["null_95"]
    section: Section = {
        "spectrum": spectrum(tables["spectrum"], modulus),
        "table": from_frame(fourier, columns, n_text=0),
        "helices": from_frame(fitted, fits, ["r2"]),
        "above": [f"{period:g}" for period in fourier.loc[above, "period"]],
        "below": [f"{period:g}" for period in fourier.loc[~above, "period"]],
        "plane": None,
    }
    if "circle" in tables:
        section["plane"] = number_circle(tables["circle"])
        judged = tables["irreducibility"].to_dict("records")[0]
        section["judged"] = {name: number(value) for name, value in judged.items()}
        whole = judged["separability"] > judged["separability_null_95"]
        section["verdict"] = (
            "It does not separate into two independent features."
            if whole
            else "It may be two independent features side by side: a circle is not shown."
        )
    return section


def _cycles(tables: dict[str, pd.DataFrame], modulus: int) -> Section | None:
    if "cyclic" not in tables:
        return None
    table = tables["cyclic"]
    names = {"circle": "variance on the circle", "numbers": "cosine with its number"}
    shown = table.assign(
        task=table["task"].str.replace("_", " "),
        test=table["test"].map(names),
        holds=np.where(table["p_value"] < 0.05, "✓ yes", "✗ no"),
    )
    columns = {"task": "words", "test": "test", "holds": "in order, p < 0.05", "value": "value"}
    columns |= {"null_mean": "other orders, mean", "null_95": "other orders, 95%"}
    columns |= {"p_value": "p", "n": "words", "n_orders": "orders tried"}
    return {
        "table": from_frame(shown, columns, n_text=3),
        "n": len(table),
        "n_in_order": int((table["p_value"] < 0.05).sum()),
    }


def _decoding(tables: dict[str, pd.DataFrame], modulus: int) -> Table | None:
    if "index_and_domain" not in tables:
        return None
    table = tables["index_and_domain"]
    wide = {
        name: {row["task"]: row for row in found.to_dict("records")}
        for name, found in table.groupby("decoder", sort=False)
    }
    rows = []
    for task, first in wide["parts"].items():
        cells = []
        for found in wide.values():
            row = found[task]
            cells.append(interval(row["accuracy"], row["low"], row["high"]))
            cells.append(number(row["permuted"]))
        name = task.replace("_", " ") + (" (never fitted)" if first["held_out_task"] else "")
        rows.append([name, *cells, number(first["chance"]), number(first["n_pairs"])])
    headings = ["task", "parts [95%]", "permuted", "sum [95%]", "permuted", "chance", "pairs"]
    return Table(headings, rows)


def _span(tables: dict[str, pd.DataFrame], modulus: int) -> Section | None:
    if "ordinal_span" not in tables:
        return None
    table = tables["ordinal_span"]
    table = table[table["size"].isin([1, 8])]
    shown = table.assign(
        task=table["task"].str.replace("_", " "),
        left_out=table["left_out"].map({"indices": "a fifth of the indices", "task": "the task"}),
    )
    columns = {"left_out": "left out", "task": "predicted in", "size": "latents"}
    columns |= {"r2": "R² [95%]", "r2_random_95": "random, 95%", "r2_permuted_95": "permuted, 95%"}
    columns |= {"rho": "rank correlation", "n": "elements"}
    above = table["r2_low"] > table["r2_random_95"]
    return {
        "table": from_frame(shown, columns, ["r2"], n_text=2),
        "n": len(table),
        "n_above": int(above.sum()),
    }


def _matching(tables: dict[str, pd.DataFrame], modulus: int) -> Section | None:
    if "matching" not in tables:
        return None
    table = tables["matching"]
    columns = {"group": "latents", "cosine": "cosine with match [95%]"}
    columns |= {"max_cosine": "max cosine, MMCS [95%]", "same_label": "same label [95%]"}
    columns |= {"n": "n", "n_pairs": "pairs"}
    single = table[table["group"].str.startswith(f"mod{modulus}/")]
    again = int((single["max_cosine"] >= BAR).sum())
    return {
        "table": from_frame(table, columns, ["cosine", "max_cosine", "same_label"]),
        "again": again,
        "of": len(single),
        "holds": again == len(single),
    }


def _witnesses(run: Run) -> Section | None:
    table = run.table("witness_summary")
    if table.empty:
        return None
    columns = {"witness": "witness", "cosine": "cosine with the SAE [95%]"}
    columns |= {"cosine_random": "random, 95%", "cosine_contrast": "less the mean [95%]"}
    columns |= {"auroc": "AUROC, held out [95%]", "n": "residues"}
    probe = table[table["witness"] == "probe"].to_dict("records")[0]
    others = table[table["witness"] != "SAE"]
    shown = table.copy()
    shown.loc[table["witness"] == "SAE", table.columns.str.startswith("cosine")] = np.nan
    return {
        "table": from_frame(shown, columns, ["cosine", "cosine_contrast", "auroc"]),
        "probe": interval(probe["cosine"], probe["cosine_low"], probe["cosine_high"]),
        "random": number(probe["cosine_random"]),
        "below": others.loc[others["cosine_low"] <= others["cosine_random"], "witness"].tolist(),
    }


def _modal(run: Run) -> Section | None:
    summary, table = run.table("importance_summary"), run.table("importance")
    if summary.empty:
        return None
    columns = {"tokens": "tokens", "share": "share of a class [95%]", "permuted": "permuted, mean"}
    columns |= {"permuted_95": "permuted, 95%", "p_value": "p"}
    columns |= {"n": "tokens of numbers", "n_classes": "members × residues"}
    by_residue = table.groupby("residue", as_index=False).agg(
        share=("share", "mean"),
        share_held_out=("share_held_out", "mean"),
        n=("n", "first"),
        members=("member", "nunique"),
    )
    residues = {"residue": "residue", "share": "share", "share_held_out": "held out"}
    residues |= {"n": "tokens", "members": "members"}
    every = summary.to_dict("records")[0]
    return {
        "table": from_frame(summary, columns, ["share"]),
        "residues": from_frame(by_residue, residues, n_text=0),
        "share": interval(every["share"], every["share_low"], every["share_high"]),
        "permuted": number(every["permuted"]),
    }
