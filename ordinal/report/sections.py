"""What each section of the report shows, in the order of the page; the words are the template's.

The sections about patching are in `patching.py`.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from eval.scorecard.head import HEAD_BAR
from ordinal.figures.activations import feature_activation
from ordinal.figures.heads import head_map, readings, task_scores
from ordinal.figures.logits import LARGEST, logit_map
from ordinal.figures.residues import residue_map
from ordinal.figures.stability import stability_by_label
from ordinal.report.frames import feature_numbers, reading_scores, reference_features, task_frame
from ordinal.report.tables import Table, from_frame, interval, number
from ordinal.run_folder import Run

Section = dict[str, Any]
VERDICTS = {
    "supported": ("✓", "yes"),
    "not supported": ("✗", "no"),
    "inconclusive": ("?", "open"),
    "not testable": ("○", "open"),
}
"""Icon and CSS class of each verdict."""


def header(run: Run) -> Section:
    """What was studied."""
    tokens, model = run.activations.tokens, Path(run.config.model)
    return {
        "model": run.config.model,
        "name": model.name if model.is_dir() else run.config.model,
        "revision": run.activations.metadata.get("revision", ""),
        "head": run.head,
        "n_tokens": len(tokens),
        "tasks": tokens.table.groupby("task", sort=False).size().to_dict(),
        "n_members": len(run.ensemble),
        "n_latents": run.ensemble.members[0].d_sae,
        "pretrained": run.ensemble.pretrained,
        "trained_here": (run.folder / "metrics.jsonl").is_file(),
        "d_model": run.activations.x.shape[1],
        "config": run.config.to_yaml(),
        "folder": str(run.folder),
        "score": interval(run.head.score, run.head.low, run.head.high),
    }


def scorecard(run: Run) -> Section:
    """The claims, those about directions that need no SAE apart."""
    claims = run.read_json("summary.json")["claims"]
    for claim in claims:
        claim["icon"], claim["kind"] = VERDICTS[claim["verdict"]]
        claim["printed"] = interval(claim["value"], claim["low"], claim["high"])
    ablation = run.table("ablation")
    sources = [] if ablation.empty else list(ablation["directions"].unique())
    witnesses = [source for source in sources if source != "SAE"]

    def is_witness(claim: dict[str, Any]) -> bool:
        return claim["directions"] in witnesses

    main = [claim for claim in claims if not is_witness(claim)]
    beside = [claim for claim in claims if is_witness(claim)]
    return {
        "claims": main,
        "witnesses": beside,
        "counts": {v: sum(c["verdict"] == v for c in claims) for v in VERDICTS},
        "open": [claim for claim in main if claim["verdict"] != "supported"],
        "open_witnesses": sum(claim["verdict"] != "supported" for claim in beside),
    }


def heads(run: Run) -> Section:
    """Section 2: the map of heads, the chosen head by task, and what there is without it."""
    table, head = run.table("heads"), run.head
    reading = reading_scores(run)
    columns = {"read": "what is read", "score": "score [95%]", "n_tokens": "tokens"}
    best = {"layer": "layer", "head": "head", "score": "score [95%]", "pooled": "pooled"}
    best |= {"all_spellings": "all spellings", "n_tokens": "tokens", "n_clusters": "elements"}
    return {
        "map": head_map(table, (head.layer, head.head)),
        "tasks": task_scores(task_frame(run)),
        "readings": readings(reading),
        "reading_table": from_frame(reading, columns, ["score"]),
        "best": from_frame(table.head(5), best, ["score"], n_text=0),
        "n_heads": len(table),
        "n_above": int(np.sum(table["score"].to_numpy() > HEAD_BAR)),
        "bar": HEAD_BAR,
        "cosine": _cosine(run),
    }


def _cosine(run: Run) -> str | None:
    if not (run.verification / "context.parquet").is_file():
        return None
    return number(float(run.table("context")["cosine"].iloc[0]))


def logits(run: Run) -> Section:
    """The chosen head's token-by-token logits, for each task and spelling."""
    table = run.table("logits")
    keys = table[["task", "form"]].drop_duplicates().itertuples(index=False)
    maps = [
        (task, form, logit_map(table.loc[(table["task"] == task) & (table["form"] == form)]))
        for task, form in keys
    ]
    return {"maps": maps, "largest": LARGEST}


def features(run: Run) -> Section:
    """The residue features of the reference member, and other moduli beside them."""
    catalog = run.catalog
    modulus = int(catalog.metadata.get("modulus", run.config.features.modulus))
    base = {"modulus": modulus, "not_testable": catalog.metadata.get("not_testable")}
    if base["not_testable"]:
        return base
    residues = catalog.residue_table
    latents = json.loads(catalog.metadata["latents"])
    reference = reference_features(run)
    columns = {"residue": "residue", "index": "latent", "label": "label"}
    columns |= {"precision": "precision", "recall": "recall"}
    columns |= {"held_out_precision": "held-out precision", "held_out_recall": "held-out recall"}
    columns |= {"q_value": "q", "precision_all_tasks": "precision, all tasks"}
    columns |= {"stability": "stability"}
    columns |= {"cosine_class_mean": "cos, class mean", "cosine_probe": "cos, probe"}
    numbers = feature_numbers(run, latents)
    return base | {
        "member": int(catalog.metadata["member"]),
        "plots": [
            feature_activation(rows, threshold, f"{r} mod {modulus}: latent {latents[r]}")
            for r, (rows, threshold) in enumerate(numbers)
        ],
        "map": residue_map(residues),
        "table": from_frame(reference, columns, n_text=0),
        "moduli": Table(
            ["modulus", "good features", "members with all", "mean F1, not held out"],
            [_modulus_row(residues, m) for m in residues["modulus"].unique()],
            0,
        ),
        "n_permutations": run.config.features.permutations,
        "n_held_out": int(reference["n_tokens"].iloc[0]),
    }


def _modulus_row(residues: pd.DataFrame, modulus: int) -> list[str]:
    rows = residues.loc[residues["modulus"] == modulus]
    good = rows.pivot(index="member", columns="residue", values="good").to_numpy(bool)
    return [
        str(modulus),
        f"{good.sum()} of {good.size}",
        f"{good.all(1).sum()} of {len(good)}",
        number(float(np.mean(rows["f1_train"].to_numpy()))),
    ]


def order(run: Run) -> Section:
    """Ordinal directions, the labels that latents got, and their stability."""
    catalog = run.catalog
    directions = catalog.order.assign(
        beats=np.where(catalog.order["r2"] > catalog.order["r2_permuted"], "✓ yes", "✗ no")
    )
    columns = {"name": "direction", "r2": "R² [95%], left out"}
    columns |= {"r2_permuted": "permuted (control)", "p_value": "p"}
    columns |= {"beats": "above its control", "n_tokens": "tokens"}
    kinds = catalog.features.assign(kind=catalog.features["label"].str.split("/").str[0])
    headings = {"kind": "label", "latents": "latents", "members": "in members"}
    headings |= {"q_value": "median q", "stability": "median stability"}
    by_kind = kinds.groupby("kind", as_index=False).agg(
        latents=("index", "size"),
        members=("member", "nunique"),
        q_value=("q_value", "median"),
        stability=("stability", "median"),
    )
    mmcs = float(np.mean(kinds["stability"].to_numpy()))
    return {
        "directions": from_frame(directions, columns, ["r2"]),
        "weak": directions.loc[directions["beats"].str.startswith("✗"), "name"].tolist(),
        "labels": from_frame(by_kind, headings),
        "stability": None if np.isnan(mmcs) else stability_by_label(kinds),
        "mmcs": number(mmcs),
        "n_latents": len(kinds),
    }
