"""The part of the fourth step that runs prompts: the head in context, and edits there."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pandas as pd

from ordinal.run_folder import Run

if TYPE_CHECKING:
    from eval.patching.operators import Operator
    from lm.bridged import BridgedModel

TABLES = ("in_context", "context_edits")
"""In `verification/`; the edits are empty where there is no operator, or no path to the head."""


def study_context(run: Run, bridged_model: "BridgedModel", operators: "Sequence[Operator]") -> None:
    """Write what the head does in prompts, and what edits of M do there.

    Args:
        run: whose head and activations they are about.
        bridged_model: runs the prompts.
        operators: bound to the directions of each member; none where residues are not testable.
            Those that share a name and a source of directions are pooled.

    Raises:
        OrdinalError: the bridge has not all the hooks for this model.
    """
    from eval.context.edits import context_edits_table
    from eval.context.families import prepare
    from eval.context.in_context import in_context_table
    from eval.patching.readout import readouts

    tokens, head, seed = run.activations.tokens, run.head, run.config.seed
    read = readouts(bridged_model, tokens, head.layer, head.head)
    context = prepare(bridged_model, tokens, read, head, seed=seed)
    edits = pd.DataFrame()
    edits.attrs["not_testable"] = f"L0H{head.head} reads no MLP0 output"
    if head.layer > 0:
        edits = context_edits_table(context, operators, run.activations, seed=seed)
    for name, table in zip(TABLES, (in_context_table(context, seed=seed), edits), strict=True):
        run.write_table(name, table)
