"""The fourth step: the directions put through the successor head, and the claims drawn up."""

import math
from typing import TYPE_CHECKING, cast

import pandas as pd

from lm.errors import OrdinalError
from lm.files import write_parquet
from ordinal.run_folder import Run
from ordinal.steps.judging import draw_up
from ordinal.steps.patching import TABLES, patch, write_tables
from ordinal.steps.reading import study_text
from ordinal.steps.witnessing import compare_witnesses

if TYPE_CHECKING:
    from eval.patching.readout import Readout
    from features.directions import ResidueDirections
    from lm.access import LanguageModel
    from lm.bridged import BridgedModel


OFF = "the whole model was not loaded (`verify: {in_context: false}`)"
IN_CONTEXT = ("text_cases", "text_shares")
"""Tables that need the whole model."""


def verify(run: Run) -> pd.DataFrame:
    """Put the directions through the successor head, and draw up the claims."""
    from eval.patching.readout import readouts
    from lm.open import open_model

    model = open_model(run.config.model)
    same_model(run, model)
    head, activations = run.head, run.activations
    read = readouts(model, activations.tokens, head.layer, head.head)
    if run.config.verify.in_context:
        bridged = cast("BridgedModel", open_model(run.config.model, route="bridged"))
        _in_context(run, bridged, read)
        study_text(run, bridged)
    else:
        write_tables(run, {name: _left_out(OFF) for name in IN_CONTEXT})
    write_parquet(head_logits(run, read), run.verification / "logits.parquet")
    if "not_testable" in run.catalog.metadata:
        compare_witnesses(run, model, read, None)
        write_tables(run, {name: pd.DataFrame() for name in TABLES})
    else:
        sources = residue_directions(run)
        compare_witnesses(run, model, read, sources[0])
        patch(run, read, sources)
    claims = draw_up(run)
    run.forget_after("verify")
    rows = [{k: _plain(v) for k, v in claim._asdict().items()} for claim in claims]
    run.write_json("summary.json", {"model": run.config.model, "claims": rows})
    return pd.DataFrame(rows)


def residue_directions(run: Run) -> "list[list[ResidueDirections]]":
    """The directions of the SAEs and of the witnesses, one list of sets for each source."""
    from features.activity import latent_activity
    from features.directions import class_mean_directions, probe_directions, sae_directions

    modulus, activations = run.config.features.modulus, run.activations
    activity = latent_activity(run.ensemble, activations)
    return [
        sae_directions(run.ensemble, activity, activations, modulus),
        class_mean_directions(activations, modulus),
        probe_directions(activations, modulus),
    ]


def _left_out(reason: str) -> pd.DataFrame:
    """An empty table that says why it is."""
    table = pd.DataFrame()
    table.attrs["not_testable"] = reason
    return table


def _in_context(run: Run, model: "BridgedModel", read: "list[Readout]") -> None:
    from eval.context.residual import context_table

    table = context_table(model, run.activations, read, seed=run.config.seed)
    write_parquet(table, run.verification / "context.parquet")


def head_logits(run: Run, read: "list[Readout]") -> pd.DataFrame:
    """The head's logits, source by candidate: `task`, `form`, `source`, `candidate`, `logit`."""
    table, frames = run.activations.tokens.table, []
    for readout in read:
        rows = table.loc[readout.rows.tolist()]
        logits = readout.circuit.logits(run.activations.x[readout.rows])
        frame = pd.DataFrame(logits.numpy(), index=rows["text"], columns=rows["text"])
        frames.append(
            frame.rename_axis("source")
            .reset_index()
            .melt("source", var_name="candidate", value_name="logit")
            .assign(task=readout.task, form=rows["form"].iloc[0])
        )
    return pd.concat(frames, ignore_index=True)


def same_model(run: Run, model: "LanguageModel") -> None:
    """Raises OrdinalError when the activations come from another version of the model."""
    made = run.activations.metadata.get("revision")
    if made and model.info.revision and made != model.info.revision:
        raise OrdinalError(
            f"{run.folder} was trained on {run.config.model} at {made[:12]}, which is now at "
            f"{model.info.revision[:12]}. Type `ordinal train {run.folder}` to train again."
        )


def _plain(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value
