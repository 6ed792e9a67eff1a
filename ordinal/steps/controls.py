"""The part of the fourth step that asks what else the head does, and what else directions do."""

from typing import TYPE_CHECKING

import pandas as pd

from ordinal.run_folder import Run
from ordinal.steps.scanning import run_tokens

if TYPE_CHECKING:
    from eval.patching.lesions import Lesions
    from features.directions import ResidueDirections
    from lm.access import LanguageModel
    from lm.bridged import BridgedModel
    from lm.ordinals import OrdinalTokens

TABLES = (
    "behaviours",
    "greater_than",
    "dissociation",
    "dissociation_contrasts",
    "head_roles",
)
"""In `verification/`; those about dissociation are empty where residues are not testable."""


def study_head(
    run: Run,
    model: "LanguageModel",
    bridged: "BridgedModel | None",
    sources: "list[list[ResidueDirections]]",
) -> None:
    """Write the tables about what else the head does, and what else the directions do.

    Args:
        run: whose head and directions they are about; its features are labelled.
        model: the run's.
        bridged: the same model, whose attention tells its induction head; None to leave that out.
        sources: residue directions, to be removed; none where residues are not testable.
    """
    from eval.heads.behaviours import behaviour_table
    from eval.heads.greater_than import greater_than_table
    from eval.heads.roles import copying_head
    from eval.heads.successor import scored_tokens
    from eval.patching.readout import readouts
    from training.harvest import harvest

    config, head, activations = run.config, run.head, run.activations
    scored = scored_tokens(run_tokens(run, model), config.tokens.scored_numbers)
    m = harvest(model, scored, config.ln).x
    heads = {
        "successor head": (head.layer, head.head),
        "runner-up": (head.runner_up_layer, head.runner_up_head),
        "copying head": copying_head(model, scored, m, seed=config.seed),
    }
    induction = _induction(bridged, config.seed)
    if len(induction):
        best = induction.iloc[0]
        heads["induction head"] = int(best["layer"]), int(best["head"])
    behaviours = behaviour_table(model, scored, m, heads, seed=config.seed)
    removed = _removed(run, sources)
    read = readouts(model, activations.tokens, head.layer, head.head)
    greater = greater_than_table(model, activations, read, removed, seed=config.seed)
    tables = (behaviours, greater, *_asked(run, model, scored, heads, induction, removed))
    for name, table in zip(TABLES, tables, strict=True):
        run.write_table(name, table)


def _induction(bridged: "BridgedModel | None", seed: int) -> pd.DataFrame:
    from eval.heads.induction import induction_table

    return pd.DataFrame() if bridged is None else induction_table(bridged, seed=seed)


def _removed(run: Run, sources: "list[list[ResidueDirections]]") -> "list[list[Lesions]]":
    """What is removed, for each source of residue directions."""
    from eval.patching.lesions import lesions

    random_subspaces, seed = run.config.verify.random_subspaces, run.config.seed
    return [
        lesions(sets, run.activations, random_subspaces=random_subspaces, seed=seed)
        for sets in sources
    ]


def _asked(
    run: Run,
    model: "LanguageModel",
    scored: "OrdinalTokens",
    heads: dict[str, tuple[int, int]],
    induction: pd.DataFrame,
    removed: "list[list[Lesions]]",
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """The same questions with parts of M(t) removed, and asked of other heads."""
    from eval.heads.dissociation import (
        dissociation_contrasts,
        dissociation_rows,
        dissociation_table,
    )
    from eval.heads.induction import induction_rows
    from eval.heads.role_readouts import copying_readouts, populations, successor_readouts
    from eval.heads.roles import head_role_table
    from eval.heads.successor import reported_on
    from eval.heads.words import other_words
    from lm.access import mlp0_outputs

    config, activations = run.config, run.activations
    tokens, seed = activations.tokens, config.seed
    words = other_words(model.tokenizer, tokens, seed=seed)
    asked_of = populations(tokens, activations.x, mlp0_outputs(model, words, config.ln))
    reported = reported_on(tokens, scored, seed)
    roles = head_role_table(model, tokens, words, asked_of, heads, reported, seed=seed)
    if len(induction):
        roles = pd.concat([roles, induction_rows(induction, heads)], ignore_index=True)
    if not removed:
        return pd.DataFrame(), pd.DataFrame(), roles
    asked = successor_readouts(model, tokens, *heads["successor head"])
    asked += copying_readouts(model, tokens, words, *heads["copying head"], reported)
    never_fitted = tokens.table["held_out_task"].to_numpy()
    parts = [dissociation_rows(sets, asked, asked_of, never_fitted) for sets in removed]
    rows = pd.concat(parts, ignore_index=True)
    contrasts = dissociation_contrasts(rows, config.features.modulus, seed=seed)
    return dissociation_table(rows, seed=seed), contrasts, roles
