"""The part of the fourth step that edits nothing: witnesses, and the most important latents."""

from typing import TYPE_CHECKING

import pandas as pd
from tqdm import tqdm

from ordinal.run_folder import Run

if TYPE_CHECKING:
    from eval.patching.readout import Readout
    from features.directions import ResidueDirections
    from lm.access import LanguageModel

TABLES = ("witnesses", "witness_summary", "importance", "importance_summary")
"""In `verification/`; empty where residues are not testable."""


def compare_witnesses(
    run: Run,
    model: "LanguageModel",
    read: "list[Readout]",
    sae: "list[ResidueDirections] | None",
) -> None:
    """Write the tables about methods that need no SAE, and about the most important latents.

    Args:
        run: whose head and dictionaries they are about.
        model: its neurons are witnesses.
        read: the head's readouts.
        sae: each member's residue directions; None where residues are not testable.
    """
    tables = [pd.DataFrame()] * len(TABLES) if sae is None else _tables(run, model, read, sae)
    for name, table in zip(TABLES, tables, strict=True):
        run.write_table(name, table)


def _tables(
    run: Run,
    model: "LanguageModel",
    read: "list[Readout]",
    sae: "list[ResidueDirections]",
) -> list[pd.DataFrame]:
    import torch

    from eval.patching.importance import importance
    from features.witnesses import read_space, witness_summary, witness_table

    ensemble, activations, seed = run.ensemble, run.activations, run.config.seed
    with tqdm(total=2, desc="witnesses", leave=False, delay=1, disable=None) as bar:
        witnesses = witness_table(
            sae,
            ensemble.held_out_folds,
            activations,
            read_space(torch.cat([readout.circuit.kernel for readout in read], 1)),
            neurons=model.mlp0_neurons(),
            seed=seed,
        )
        bar.update()
        modal = importance(ensemble, activations, read, run.config.features.modulus, seed=seed)
    return [witnesses, witness_summary(witnesses, seed=seed), modal.table, modal.summary]
