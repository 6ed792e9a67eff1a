"""Order: the feature grows or falls with the index, or stands for an interval of it.

Null: the elements of a task change places across the whole task, all spellings together.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pandas as pd
from jaxtyping import Bool, Float, Int

from features.hypotheses.family import Family, Hypothesis
from features.order import MONOTONE, ordered_tasks
from features.permutation import permutation_p_values

INTERVALS = 10
"""Equal parts of the numbers' range that intervals are made of, beside decades and hundreds."""
SHARED = "ordinal/shared"
"""The label of a feature that follows the index in other tasks too."""
SHARED_P = 0.05
"""p-value at which it does."""


def order_family(table: pd.DataFrame) -> Family | None:
    """`ordinal/<task>` for each task long enough, and for numbers `magnitude/numbers` (log n) and
    `interval/<first>-<last>`, of which those of a hundred are `hundreds/<digit>`."""
    tasks = ordered_tasks(table)
    rows = np.flatnonzero(table["task"].isin(tasks) & ~table["held_out_task"])
    if not len(rows):
        return None
    part = table.iloc[rows]
    elements = part.groupby(["task", "index"], sort=False)
    place = elements.first().index.to_frame(index=False)
    task = place["task"].map(tasks.index).to_numpy()
    index = place["index"].to_numpy()
    hypotheses, contrasts, home = [], [], []
    for number, name in enumerate(tasks):
        for hypothesis, predicted in _of_task(name, index[task == number]):
            contrast = np.zeros(len(index))
            contrast[task == number] = predicted
            hypotheses.append(hypothesis)
            contrasts.append(contrast)
            home.append(number)
    unit = elements.ngroup().to_numpy()
    return Family("order", hypotheses, rows, unit, task, task, np.stack(contrasts), np.array(home))


def _of_task(
    task: str, index: np.ndarray
) -> Iterator[tuple[Hypothesis, Float[np.ndarray, " elements"]]]:
    for sign in (1, -1):
        yield Hypothesis(f"ordinal/{task}", sign=sign), index.astype(float)
    if task != "numbers":
        return
    for sign in (1, -1):
        yield Hypothesis("magnitude/numbers", sign=sign), np.log1p(index)
    for first, last in _intervals(int(index.min()), int(index.max())):
        inside = (index >= first) & (index <= last)
        hundred = first % 100 == 0 and last == first + 99
        name = f"hundreds/{first // 100}" if hundred else f"interval/{first}-{last}"
        if 1 < inside.sum() < len(index) - 1:
            yield Hypothesis(name), inside.astype(float)


def _intervals(low: int, high: int) -> list[tuple[int, int]]:
    """First and last number: unions of equal parts of the range, decades, and hundreds."""
    ends = np.linspace(low, high + 1, INTERVALS + 1).astype(int)
    out = [(a, b - 1) for i, a in enumerate(ends) for b in ends[i + 1 :]]
    for size in (10, 100):
        out += [(first, first + size - 1) for first in range(low // size * size, high + 1, size)]
    return list(dict.fromkeys((int(first), int(last)) for first, last in out))


def order_is_shared(
    family: Family,
    values: Float[np.ndarray, "tokens latents"],
    best: Int[np.ndarray, " latents"],
    *,
    seed: int = 0,
) -> Bool[np.ndarray, " latents"]:
    """Whether a feature that follows one task's index follows those of all others too.

    It does if its correlation with the index within the other tasks together is at least
    `MONOTONE`, in the same direction, and is not reached by permutations (p <= .05).

    Args:
        family: over the fitted tokens.
        values: of the features.
        best: each feature's hypothesis.
    """
    out = np.zeros(len(best), dtype=bool)
    for h in np.unique(best):
        label, _, _, sign = family.hypotheses[h]
        if not label.startswith(("ordinal/", "magnitude/")):
            continue
        others = [
            i
            for i, other in enumerate(family.hypotheses)
            if other.label.startswith("ordinal/")
            and other.sign == sign
            and family.home[i] != family.home[h]
        ]
        if not others:
            continue
        latents = np.flatnonzero(best == h)
        elsewhere = _together(family.select(others))
        correlation = elsewhere.scores(values[:, latents])[0] / np.sqrt(elsewhere.freedom)[0]
        p = permutation_p_values(elsewhere, values[:, latents], seed=seed)
        out[latents] = (correlation >= MONOTONE) & (p <= SHARED_P)
    return out


def _together(family: Family) -> Family:
    """The index of several tasks, standardised within each, as one hypothesis."""
    keep = np.isin(family.block, family.home)
    here = family.restrict(
        np.isin(np.arange(family.rows.max() + 1), family.rows[keep[family.unit]])
    )
    contrast = np.zeros(len(here.stratum))
    for task in np.unique(here.stratum):
        index = here.contrasts[:, here.stratum == task].sum(0)
        contrast[here.stratum == task] = (index - index.mean()) / max(index.std(), 1e-9)
    sign = family.hypotheses[0].sign
    return replace(
        here,
        hypotheses=[Hypothesis(SHARED, sign=sign)],
        block=np.zeros_like(here.block),
        contrasts=contrast[None],
        home=np.zeros(1, dtype=int),
    )
