"""Whether the head makes the successor in context, directly and in total (section 4)."""

import numpy as np
import pandas as pd
import torch
from jaxtyping import Float, Int
from tqdm import tqdm

from eval.context.families import Context, Family
from eval.context.prompts import batches
from features.statistics import LEVEL, Bootstrap, bootstrap_means, clopper_pearson, clusters
from lm.access import mlp0_outputs

SHARES = ("accuracy", "ablated_accuracy", "control_accuracy", "agreement", "agreement_shuffled")
MEANS = (
    *("margin", "ablated_margin", "control_margin"),
    *("direct", "total", "control_total", "attention"),
)
TAILS = (50 * (1 - LEVEL), 50 * (1 + LEVEL))


def in_context_table(context: Context, *, seed: int = 0) -> pd.DataFrame:
    """The head's part in each family of prompts.

    A head is ablated at the last position, to its mean over prompts of other elements of all tasks.

    Returns:
        One row per family and task (`all`: the mean over tasks, those held out apart), with
        `accuracy` of the model among the task's candidates and the successor's `margin` over the
        best other one; both with the head ablated (`ablated_`) and with the runner-up (`control_`);
        what the head adds to the margin, `direct` and in `total` (the runner-up:
        `control_total`), and `compensated`,
        1 - total / direct, the share of it that the rest of the model makes up for when the head
        is gone (NaN where no direct effect is shown); `agreement` of the head's output with its
        OV circuit on M(t) of the token attended to most, and `agreement_shuffled`, with that of
        another prompt of the task and spelling; `attention` on the source. Each with its 95%
        interval `_low`, `_high`; `n_tokens`, `n_prompts`, `templates`, separated by ` | `. A
        family that was left out is one row with its reason in `left_out`.
    """
    table, rows = context.tokens.table, []
    for family in tqdm(context.families, "in context", leave=False, delay=2, disable=None):
        values = _measured(context, family, np.random.default_rng(seed))
        sources = table.loc[family.rows].reset_index(drop=True)
        for task, keep in by_task(sources, context.tokens.tasks).items():
            figures = {name: column[keep] for name, column in values.items()}
            rows.append(
                {"family": family.name, "task": task, **_row(figures, sources[keep], seed)}
                | {"templates": " | ".join(family.templates), "left_out": ""}
            )
    nothing = {"task": "all", "n_tokens": 0, "n_prompts": 0, "templates": ""}
    for family, reason in context.left_out.items():
        rows.append({"family": family, **nothing, "left_out": reason})
    return pd.DataFrame(rows)


def by_task(sources: pd.DataFrame, tasks: list[str]) -> dict[str, np.ndarray]:
    """Which rows count for all tasks (those never held out) and for each; none that is empty."""
    keep = {"all": ~sources["held_out_task"].to_numpy()}
    keep |= {task: (sources["task"] == task).to_numpy() for task in tasks}
    return {task: rows for task, rows in keep.items() if rows.any()}


def anywhere(result: Bootstrap) -> Float[np.ndarray, "2 k"]:
    """95% percentiles, for means that may lie anywhere; NaN for a single element."""
    if result.n_clusters < 2:
        return np.full((2, len(result.estimate)), np.nan)
    return np.percentile(result.draws, TAILS, axis=0)


def shares(result: Bootstrap) -> Float[np.ndarray, "2 k"]:
    """95% intervals of shares; Clopper-Pearson too where all elements have the same share."""
    low, high = result.interval()
    exact = clopper_pearson(result.estimate, np.full(len(low), result.n_clusters))
    return np.where(low < high, (low, high), exact)


def _measured(
    context: Context, family: Family, rng: np.random.Generator
) -> dict[str, Float[np.ndarray, " prompts"]]:
    """Every figure of every prompt."""
    answers, head, n = context.answers, context.head, len(family.prompts)
    source = torch.tensor([prompt.position for prompt in family.prompts])
    out = {name: np.empty(n) for name in MEANS}
    written, predicted = np.empty(n, dtype=int), np.empty(n, dtype=int)
    for part, ids in batches(family.prompts):
        rows, at = family.rows[part], torch.arange(len(ids))
        clean = head.run(ids)
        without = head.effects(clean, ids, family.without_head)
        control = head.effects(clean, ids, family.without_runner_up)
        out["margin"][part] = margin = answers.margin(clean.logits, rows)
        out["ablated_margin"][part] = answers.margin(clean.logits + without.total, rows)
        out["control_margin"][part] = answers.margin(clean.logits + control.total, rows)
        out["direct"][part] = margin - answers.margin(clean.logits + without.direct, rows)
        out["attention"][part] = clean.pattern[at, source[part]].numpy()
        m = mlp0_outputs(head.model, ids[at, clean.pattern.argmax(1)])
        written[part] = answers.said(head.written(clean.z), rows)
        predicted[part] = answers.said(head.circuit.logits(m), rows)
    out["total"] = out["margin"] - out["ablated_margin"]
    out["control_total"] = out["margin"] - out["control_margin"]
    for name in ("", "ablated_", "control_"):
        out[f"{name}accuracy"] = (out[f"{name}margin"] > 0).astype(float)
    out["agreement"] = (written == predicted).astype(float)
    other = _others(answers.readout_of[family.rows], rng)
    out["agreement_shuffled"] = (written == predicted[other]).astype(float)
    return out


def _others(
    group: Int[np.ndarray, " prompts"], rng: np.random.Generator
) -> Int[np.ndarray, " prompts"]:
    """For each prompt another of its group; itself where it is alone."""
    out = np.empty(len(group), dtype=int)
    for name in np.unique(group):
        order = rng.permutation(np.flatnonzero(group == name))
        out[order] = np.roll(order, 1)
    return out


def _row(
    values: dict[str, Float[np.ndarray, " prompts"]], sources: pd.DataFrame, seed: int
) -> dict[str, float | int]:
    names = list(values)
    result = bootstrap_means(
        np.stack(list(values.values())), clusters(sources), sources["task"].to_numpy(), seed=seed
    )
    of_shares, of_means = shares(result), anywhere(result)
    row: dict[str, float | int] = {}
    for at, name in enumerate(names):
        low, high = (of_shares if name in SHARES else of_means)[:, at]
        row |= {name: float(result.estimate[at]), f"{name}_low": low, f"{name}_high": high}
    ratio, ends = np.nan, (np.nan, np.nan)
    if row["direct_low"] > 0:
        direct, total = names.index("direct"), names.index("total")
        ratio = 1 - row["total"] / row["direct"]
        ends = np.percentile(1 - result.draws[:, total] / result.draws[:, direct], TAILS)
    row |= {"compensated": ratio, "compensated_low": ends[0], "compensated_high": ends[1]}
    return row | {"n_tokens": sources["token_id"].nunique(), "n_prompts": len(sources)}
