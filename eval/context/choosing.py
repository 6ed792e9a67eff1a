"""Which edits are made in context, and at which scale: nothing here is chosen in context."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from jaxtyping import Int

from eval.context.families import Family
from eval.patching.arithmetic import SCALES, possible_edits
from eval.patching.operators import Operator
from eval.patching.readout import Readout
from training.activations import Activations

CHOSEN_ON = 200
"""Edits at most, of a task and spelling, that the scale is chosen on."""


class Possible(NamedTuple):
    """What one operator may be asked for, on tokens that it was not fitted on."""

    operator: Operator
    table: pd.DataFrame
    """`source`, `target` (rows), `task`, `scale`."""


def possible(
    operator: Operator,
    activations: Activations,
    readouts: Sequence[Readout],
    rng: np.random.Generator,
) -> Possible:
    """The edits of sources that the operator was not fitted on, and the scale of each task.

    The scale is the one at which most edits among the fitted elements succeed through the head's
    OV circuit on M(t), task by task; of several that are equally good the middle one. It is 1 where
    no fitted edit succeeds, or the operator may not be tried on fitted elements (swap).
    """
    may_give, held_out = operator.can_give().numpy(), operator.directions.held_out.numpy()
    reported = []
    for task in dict.fromkeys(readout.task for readout in readouts):
        right, here = np.zeros(len(SCALES)), []
        for readout in readouts:
            if readout.task != task:
                continue
            source, target = _pairs(readout, operator.directions.modulus)
            rows = readout.rows.numpy()
            allowed = may_give[rows[target]]
            unseen = allowed & held_out[rows[source]]
            fitted = np.flatnonzero(allowed & ~held_out[rows[source]] & ~held_out[rows[target]])
            fitted = rng.permutation(fitted)[:CHOSEN_ON]
            right += _right(operator, activations, readout, source[fitted], target[fitted])
            here.append(
                pd.DataFrame({"source": rows[source[unseen]], "target": rows[target[unseen]]})
            )
        best = np.flatnonzero(right == right.max())
        scale = SCALES[int(best[len(best) // 2])] if right.any() else 1.0
        reported.append(pd.concat(here).assign(task=task, scale=scale))
    return Possible(operator, pd.concat(reported, ignore_index=True))


def _pairs(
    readout: Readout, modulus: int
) -> tuple[Int[np.ndarray, " edits"], Int[np.ndarray, " edits"]]:
    """Positions of source and target of every edit: 47 with 3 is 43."""
    possible = possible_edits(readout, modulus)
    position = {int(index): at for at, index in enumerate(readout.index)}
    index = readout.index[possible.source] - possible.i + possible.j
    return possible.source, np.array([position[int(at)] for at in index], dtype=int)


def _right(
    operator: Operator,
    activations: Activations,
    readout: Readout,
    source: Int[np.ndarray, " edits"],
    target: Int[np.ndarray, " edits"],
) -> Int[np.ndarray, " scales"]:
    """Edits that succeed through the OV circuit, at each scale."""
    if not len(source):
        return np.zeros(len(SCALES), dtype=int)
    m, logits = activations.x[readout.rows], readout.circuit.logits
    taken = logits(operator.taken(m, readout.rows))[source]
    moved = logits(operator.given(readout.rows))[target] - taken
    base, expected = logits(m)[source], torch.from_numpy(readout.successor[target])
    said = [(base + scale * moved).argmax(1) == expected for scale in SCALES]
    return torch.stack(said).sum(1).numpy()


def draw(
    pool: Sequence[Possible], family: Family, edits: int, rng: np.random.Generator
) -> pd.DataFrame:
    """Edits of a family's prompts, as many of each member and, where they last, of each task.

    Returns:
        The columns of `Possible.table`, `member` (place in the pool) and `prompt` (place in the
        family).
    """
    prompt = pd.Series(np.arange(len(family.prompts)), index=family.rows)
    parts = []
    for member, one in enumerate(pool):
        table = one.table[one.table["source"].isin(prompt.index)].assign(member=member)
        table["prompt"] = prompt[table["source"]].to_numpy()
        table = table.iloc[rng.permutation(len(table))]
        turn = table.groupby("task").cumcount()
        order = np.lexsort((rng.random(len(turn)), turn))
        parts.append(table.iloc[order].head(-(-edits // len(pool))))
    return pd.concat(parts, ignore_index=True)
