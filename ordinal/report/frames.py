"""Tables put together from several files of a run, for figures to draw."""

import json

import numpy as np
import pandas as pd
import torch

from eval.heads.successor import is_source, scored_tokens
from features.activity import ACTIVE_ABOVE
from features.statistics import clopper_pearson
from ordinal.run_folder import Run


def task_frame(run: Run) -> pd.DataFrame:
    """The chosen head's share of successors by task, with n, its interval and guessing's share.

    Returns:
        `task`, `score`, `low`, `high` (Clopper-Pearson on elements), `runner_up`, `chance`,
        `n_tokens`, `n_elements`.
    """
    head = run.head
    by_head = {(row["layer"], row["head"]): row for row in run.table("heads").to_dict("records")}
    best = by_head[head.layer, head.head]
    second = by_head[head.runner_up_layer, head.runner_up_head]
    scored = scored_tokens(run.activations.tokens, run.config.tokens.scored_numbers)
    sources = scored.table.loc[is_source(scored)]
    rows = []
    for task in dict.fromkeys(sources["task"]):
        here = sources.loc[sources["task"] == task]
        spellings = scored.table.loc[scored.table["task"] == task, "form"]
        rows.append(
            {
                "task": task,
                "score": best[task],
                "runner_up": second[task],
                "chance": len(spellings.unique()) / len(spellings),
                "n_tokens": len(here),
                "n_elements": len(here["index"].unique()),
            }
        )
    frame = pd.DataFrame(rows)
    low, high = clopper_pearson(frame["score"].to_numpy(), frame["n_elements"].to_numpy())
    return frame.assign(low=low, high=high)


def reading_scores(run: Run) -> pd.DataFrame:
    """Every way to read succession: `read`, `score`, its interval, `n_tokens`, `control`.

    The head on the half of the elements that did not choose it; in context if that was asked for;
    and, as controls, the same unembedding without the head.
    """
    head = run.head
    chosen = {
        "read": f"L{head.layer}H{head.head} on M(t)",
        "score": head.score,
        "score_low": head.low,
        "score_high": head.high,
        "n_tokens": head.n_tokens,
    }
    frames = [pd.DataFrame([chosen]).assign(control=False)]
    if (run.verification / "context.parquet").is_file():
        context = run.table("context").head(1)
        frames.append(context.assign(read="the head, in context", control=False))
    baselines = run.table("baselines")
    names = baselines["read"].str.replace("M", "M(t)") + ", no head"
    frames.append(baselines.assign(read=names, control=True))
    return pd.concat(frames, ignore_index=True).loc[:, [*chosen, "control"]]


def reference_features(run: Run) -> pd.DataFrame:
    """The reference member's latent of each residue, with the residue's held-out figures.

    Those are pooled over the members, each on the numbers that it held out; beside the share
    stands its count.
    """
    catalog = run.catalog
    member, modulus = int(catalog.metadata["member"]), int(catalog.metadata["modulus"])
    latents = json.loads(catalog.metadata["latents"])
    features = catalog.features.loc[catalog.features["member"] == member].set_index("index")
    table = catalog.residue_table
    residues = table.loc[table["modulus"] == modulus]
    counts = ["held_out_hits", "held_out_active", "held_out_members"]
    hits, active, members = (
        np.bincount(residues["residue"].to_numpy(), residues[name].to_numpy()) for name in counts
    )
    return (
        features.loc[latents]
        .reset_index()
        .assign(
            residue=range(modulus),
            held_out_recall=_counts(hits, members),
            held_out_precision=_counts(hits, active),
        )
    )


def _counts(part: np.ndarray, whole: np.ndarray) -> list[str]:
    return [f"{a / max(b, 1):.2f} ({a:.0f} of {b:.0f})" for a, b in zip(part, whole, strict=True)]


def feature_numbers(run: Run, latents: list[int]) -> list[tuple[pd.DataFrame, float]]:
    """The reference member's activation of each latent over the numbers.

    Returns:
        For each residue: `index`, `form`, `value`, `member`, `held_out`; and the threshold above
        which the latent counts as active.
    """
    number = int(run.catalog.metadata["member"])
    fold = run.ensemble.held_out_folds[number]
    activations = run.activations
    with torch.no_grad():
        values = run.ensemble.members[number].encode(activations.x)[:, torch.tensor(latents)]
    thresholds = ACTIVE_ABOVE * values[torch.tensor(activations.fit_rows(fold))].amax(0)
    table = activations.tokens.table.assign(held_out=activations.held_out(fold))
    rows = (table["task"] == "numbers").to_numpy()
    numbers = table.loc[rows, ["index", "form", "held_out"]]
    return [
        (
            numbers.assign(
                value=values[:, r].numpy()[rows],
                member=numbers["index"] % len(latents) == r,
            ),
            float(thresholds[r]),
        )
        for r in range(len(latents))
    ]


def word_names(run: Run, task: str) -> dict[int, str]:
    """The word of each index of a task, in its first spelling."""
    table = run.activations.tokens.table
    rows = table.loc[table["task"] == task].drop_duplicates("index")
    return dict(zip(rows["index"].astype(int), rows["text"], strict=True))
