"""Which edits are made in context, and at which scale: nothing here is chosen in context."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from eval.context.families import Family
from eval.patching.edits import held_out_edits
from eval.patching.operators import Operator
from eval.patching.readout import Readout
from training.activations import Activations


class Possible(NamedTuple):
    """What one operator may be asked for, on tokens that it was not fitted on."""

    operator: Operator
    table: pd.DataFrame
    """`source`, `target` (rows of the `OrdinalTokens`), `task`, `scale`."""


def not_fitted(
    operator: Operator, activations: Activations, readouts: Sequence[Readout]
) -> Possible:
    """The edits whose outcome played no part in fitting the operator.

    Their scale is that of the same edits of M(t) (`eval.patching.edits`), chosen on the others.
    """
    parts = []
    for one, _, asked, choices in held_out_edits(operator, activations, readouts):
        rows, task = one.readout.rows.numpy(), one.readout.task
        columns = {"source": rows[asked.source], "target": rows[asked.target]}
        scale = [choice.scale for choice in choices]
        parts.append(pd.DataFrame(columns).assign(task=task, scale=np.array(scale, dtype=float)))
    return Possible(operator, pd.concat(parts, ignore_index=True))


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
