"""The part of the fourth step about natural text: where the head wins, and what directions save."""

from typing import TYPE_CHECKING

import pandas as pd

from ordinal.run_folder import Run

if TYPE_CHECKING:
    from eval.text.contexts import Contexts
    from features.directions import ResidueDirections
    from lm.bridged import BridgedModel

TABLES = ("text_cases", "text_shares", "text_losses")
"""In `verification/`. The metadata of each says which text was read (`source`) or, where they are
empty, why (`not_testable`)."""
NO_DIRECTIONS = "residues are not testable here, so there is no direction to remove"


def study_text(run: Run, model: "BridgedModel", sources: "list[list[ResidueDirections]]") -> None:
    """Write the tables about natural text (section 4), and what it loses without the directions.

    Args:
        run: whose head and settings they are about.
        model: its model, with the bridge.
        sources: residue directions, of which the first are removed; none where residues are not
            testable.

    Raises:
        UsageError: the text that the config names cannot be found.
        OrdinalError: it cannot be read or is too short, or the bridge lacks what is needed.
    """
    from eval.text.contexts import WANTED, text_contexts
    from eval.text.losses import no_losses
    from eval.text.natural import empty, natural_text

    config, head = run.config, run.head
    contexts = text_contexts(
        model, config.verify.text, count=config.verify.text_contexts, seed=config.seed
    )
    if contexts is None:
        found = [*empty(), no_losses()]
        about = {"not_testable": f"no text was given. {WANTED}"}
    else:
        chosen = head.layer, head.head
        runner_up = head.runner_up_layer, head.runner_up_head
        shares = natural_text(model, contexts, chosen, runner_up, seed=config.seed)
        found = [*shares, _losses(run, model, contexts, sources)]
        about = {"source": contexts.source}
    for name, table in zip(TABLES, found, strict=True):
        table.attrs |= about
        run.write_table(name, table)


def _losses(
    run: Run,
    model: "BridgedModel",
    contexts: "Contexts",
    sources: "list[list[ResidueDirections]]",
) -> pd.DataFrame:
    from eval.text.losses import no_losses, text_losses

    if not sources:
        table = no_losses()
        table.attrs["not_testable"] = NO_DIRECTIONS
        return table
    return text_losses(
        model,
        contexts.ids,
        sources[0],
        run.activations,
        random_subspaces=run.config.verify.random_subspaces,
        seed=run.config.seed,
    )
