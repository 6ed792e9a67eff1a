"""The part of the fourth step about natural text: where the successor head wins, and with what."""

from typing import TYPE_CHECKING

from lm.files import write_parquet
from ordinal.run_folder import Run

if TYPE_CHECKING:
    from lm.bridged import BridgedModel

TABLES = ("text_cases", "text_shares")
"""In `verification/`. The metadata of both says which text was read (`source`) or, where they are
empty, why none was (`not_testable`)."""


def study_text(run: Run, model: "BridgedModel") -> None:
    """Write the tables about natural text (section 4).

    Args:
        run: whose head and settings they are about.
        model: its model, with the bridge.

    Raises:
        UsageError: the text that the config names cannot be found.
        OrdinalError: it cannot be read or is too short, or the bridge lacks what is needed.
    """
    from eval.text.contexts import WANTED, text_contexts
    from eval.text.natural import empty, natural_text

    config, head = run.config, run.head
    contexts = text_contexts(
        model, config.verify.text, count=config.verify.text_contexts, seed=config.seed
    )
    if contexts is None:
        found = empty()
        about = {"not_testable": f"no text was given. {WANTED}"}
    else:
        chosen = head.layer, head.head
        runner_up = head.runner_up_layer, head.runner_up_head
        found = natural_text(model, contexts, chosen, runner_up, seed=config.seed)
        about = {"source": contexts.source}
    for name, table in zip(TABLES, found, strict=True):
        table.attrs |= about
        write_parquet(table, run.verification / f"{name}.parquet")
