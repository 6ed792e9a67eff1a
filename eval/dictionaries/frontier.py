"""How sparse a dictionary may be before succession is lost, and which one to take.

Members differ in the fold of tokens that they never saw. What the choice looks at is measured on
the members that hold out folds 0 and 1; what is reported, on the others, whose held-out tokens are
other tokens. Held-out tokens, because a dictionary about as wide as the set of tokens remembers
them: it reconstructs those that it was fitted on, and no others.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool

from eval.dictionaries.preserved import preserved, read_reconstructions, token_rows
from eval.patching.readout import Readout
from features.stability import best_cosines
from sae.autoencoder import SAE
from sae.ensemble import SAEEnsemble
from sae.pretrained import fit_of
from training.activations import Activations

CHOICE_FOLDS = (0, 1)
TOLERANCE = 0.02
RULE = (
    "the sparsest cell (lowest L0, to a tenth) whose succession on held-out tokens is within one "
    f"standard error of the best cell's, or within {TOLERANCE} if that is more; of equally sparse "
    "cells the one with fewest dead latents"
)


def cell_tables(
    ensemble: SAEEnsemble,
    activations: Activations,
    readouts: Sequence[Readout],
    *,
    seed: int = 0,
) -> tuple[dict[str, float | int], pd.DataFrame]:
    """One cell of a sweep.

    Returns:
        Its row of the frontier. Of the reporting members: `l0` (latents active on a fitted token),
        `dead` (latents active on no fitted token), `fvu_fitted` and `fvu_held_out` (fraction of
        variance unexplained), means over members; `preserved_fitted`, the successor score on
        reconstructions of fitted tokens, and the fields of `Preserved` on held-out ones. Of the
        choosing members: `choice_preserved`, `choice_standard_error`, `choice_l0`, `choice_dead`,
        `choice_n_tokens`. `typical_member`: the reporting member whose latents come back best in
        all others (mean max cosine similarity), so chosen without a look at succession.
        And a table of the same for each member, with its `held_out_fold`
        and its `split`: `choice` or `report`.
    """
    table = activations.tokens.table
    fitted, held_out = token_rows(activations, ensemble.held_out_folds)
    success = read_reconstructions(ensemble, activations, readouts, seed=seed)
    choosing = np.isin(ensemble.held_out_folds, CHOICE_FOLDS)
    chosen_on = token_rows(activations, CHOICE_FOLDS)[1].any(0)
    held_out[~choosing] &= ~chosen_on  # a word of two tasks may fall in two folds
    typical = best_cosines(ensemble).mean(1).numpy()
    rows = []
    for member, sae in enumerate(ensemble.members):
        here = slice(member, member + 1)
        fold = ensemble.held_out_folds[member]
        score = preserved(success[here], held_out[here], table, seed=seed)
        rows.append(
            {
                "member": member,
                "held_out_fold": fold,
                "split": "choice" if choosing[member] else "report",
                **quality(sae, activations, fold),
                "mmcs": typical[member],
                "preserved_fitted": preserved(success[here], fitted[here], table).preserved,
                **score._asdict(),
            }
        )
    members = pd.DataFrame(rows)
    report, choice = members.loc[~choosing], members.loc[choosing]
    on_choice = preserved(success[choosing], held_out[choosing], table, seed=seed)
    row = {
        "members": len(members),
        **report[["l0", "dead", "fvu_fitted", "fvu_held_out"]].mean().to_dict(),
        "preserved_fitted": preserved(success[~choosing], fitted[~choosing], table).preserved,
        **preserved(success[~choosing], held_out[~choosing], table, seed=seed)._asdict(),
        "choice_preserved": on_choice.preserved,
        "choice_standard_error": on_choice.preserved_standard_error,
        "choice_l0": choice["l0"].mean(),
        "choice_dead": choice["dead"].mean(),
        "choice_n_tokens": on_choice.n_tokens,
        "typical_member": int(np.flatnonzero(~choosing)[report["mmcs"].argmax()]),
    }
    return row, members


def quality(sae: SAE, activations: Activations, fold: int) -> dict[str, float | int]:
    """L0, dead latents and FVU of one member on its fitted tokens, and FVU on the held-out ones.

    Each token counts once; held-out variance is about the mean of the fitted tokens.
    """
    fit, test = (
        activations.x[torch.from_numpy(rows(fold))]
        for rows in (activations.fit_rows, activations.test_rows)
    )
    error = (test - sae.decode(sae.encode(test))).square().sum()
    variance = (test - fit.mean(0)).square().sum()
    fvu, l0, dead = fit_of(sae, fit)
    return {"l0": l0, "dead": dead, "fvu_fitted": fvu, "fvu_held_out": float(error / variance)}


def recommend(frontier: pd.DataFrame) -> pd.DataFrame:
    """Apply `RULE` to the `choice` columns alone.

    Args:
        frontier: rows as `cell_tables` gives them.

    Returns:
        The same rows with `passes_choice` (within tolerance of the best where the choice is made),
        `recommended` (one row), and `passes_report` (within tolerance of the best among what is
        reported): the recommendation agrees with the report where that is so.
    """
    passes = _near_best(frontier["choice_preserved"], frontier["choice_standard_error"])
    by_sparsity = np.lexsort((frontier["choice_dead"], frontier["choice_l0"].round(1)))
    recommended = np.zeros(len(frontier), dtype=bool)
    recommended[by_sparsity[passes[by_sparsity]][0]] = True
    return frontier.assign(
        passes_choice=passes,
        recommended=recommended,
        passes_report=_near_best(frontier["preserved"], frontier["preserved_standard_error"]),
    )


def _near_best(score: pd.Series, error: pd.Series) -> Bool[np.ndarray, " cells"]:
    best = int(score.to_numpy().argmax())
    return score.to_numpy() >= score.iloc[best] - max(TOLERANCE, error.iloc[best])
