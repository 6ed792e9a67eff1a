"""Heads beside each other: the successor head, its runner-up, copying and induction heads."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from eval.heads.behaviours import behaviour_groups
from eval.heads.role_readouts import (
    Population,
    RoleReadout,
    copying_readouts,
    successor_readouts,
)
from eval.heads.successor import reported_on
from features.statistics import bootstrap_means, change_interval
from lm.access import LanguageModel
from lm.circuit import scan_groups
from lm.ordinals import OrdinalTokens


def copying_head(
    model: LanguageModel, scored: OrdinalTokens, m: Float[Tensor, "tokens d_model"], *, seed: int
) -> tuple[int, int]:
    """The head that copies most, as a mean over tasks, on the half that heads are chosen on.

    Args:
        scored: the tokens that the successor head was chosen over.
        m: M(t) of each.
        seed: that it was chosen with.

    Returns:
        Layer and head.
    """
    groups = [g.group for g in behaviour_groups(scored, model.tokenizer)["copying"]]
    success = torch.cat(list(scan_groups(model, groups, m))).numpy()
    chosen_on = ~reported_on(scored, scored, seed)
    task = scored.table["task"].to_numpy()
    names = dict.fromkeys(task[chosen_on])
    score = np.mean([success[:, chosen_on & (task == name)].mean(1) for name in names], 0)
    layer, head = divmod(int(score.argmax()), model.info.n_heads)
    return layer, head


def head_role_table(
    model: LanguageModel,
    tokens: OrdinalTokens,
    words: Int[Tensor, " words"],
    populations: Mapping[str, Population],
    heads: Mapping[str, tuple[int, int]],
    reported: Bool[np.ndarray, " tokens"],
    *,
    seed: int = 0,
) -> pd.DataFrame:
    """Every question asked of several heads, on M(t) as it is.

    Args:
        tokens: the ordinal tokens.
        words: without order.
        populations: of every readout, by its name.
        heads: (layer, head) by role; the others are compared with the first.
        reported: the tokens that no head was chosen on.

    Returns:
        One row per role and readout: `role`, `layer`, `head`, `readout`, `value` (the share right,
        a mean over tasks) with its 95% interval `low`, `high`; `difference` from the first head,
        with a paired interval `difference_low`, `difference_high`; `chance`, of guessing among the
        candidates; `n_tokens`, `n_elements`.
    """
    shares: dict[str, list[np.ndarray]] = {}
    asked: dict[str, list[RoleReadout]] = {}
    for layer, head in heads.values():
        plain = successor_readouts(model, tokens, layer, head)
        every = [readout.among(reported) for readout in plain]
        every += copying_readouts(model, tokens, words, layer, head, reported)
        asked = {name: [r for r in every if r.name == name] for name in populations}
        for name, readouts in asked.items():
            right = [readout.right(populations[name].x[readout.rows]) for readout in readouts]
            shares.setdefault(name, []).append(np.concatenate(right or [np.empty(0)]))
    layers, numbers = zip(*heads.values(), strict=True)
    out = []
    for name, readouts in asked.items():
        if not readouts:
            continue
        rows = torch.cat([readout.rows for readout in readouts]).numpy()
        chance = np.concatenate([readout.chance for readout in readouts])
        about = {"role": list(heads), "layer": layers, "head": numbers, "readout": name}
        columns = _compared(np.stack(shares[name]), chance, populations[name], rows, seed)
        out.append(pd.DataFrame(about | columns))
    return pd.concat(out, ignore_index=True)


def _compared(
    values: Bool[np.ndarray, "heads rows"],
    chance: Float[np.ndarray, " rows"],
    population: Population,
    rows: Int[np.ndarray, " rows"],
    seed: int,
) -> dict[str, np.ndarray | float | int]:
    n, task = len(values), population.task[rows]
    shares = np.concatenate([values, values.astype(float) - values[:1], chance[None]])
    result = bootstrap_means(shares.astype(float), population.element[rows], task, seed=seed)
    low, high = result.interval()[:, :n]
    each = [
        change_interval(result.draws[:, n + k], result.estimate[n + k], result.n_clusters)
        for k in range(1, n)
    ]
    difference = np.array([[np.nan] * 3, *each])
    return {
        "value": result.estimate[:n],
        "low": low,
        "high": high,
        "difference": difference[:, 0],
        "difference_low": difference[:, 1],
        "difference_high": difference[:, 2],
        "chance": result.estimate[-1],
        "n_tokens": result.n_rows,
        "n_elements": result.n_clusters,
    }
