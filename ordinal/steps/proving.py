"""The fourth step: the directions put through the successor head, and the claims drawn up."""

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import pandas as pd
from tqdm import tqdm

from lm.errors import OrdinalError
from ordinal.run_folder import Run
from ordinal.steps import in_context, reading
from ordinal.steps.controls import study_head
from ordinal.steps.in_context import study_context
from ordinal.steps.judging import draw_up
from ordinal.steps.patching import all_operators, patch, residue_directions
from ordinal.steps.reading import study_text
from ordinal.steps.witnessing import compare_witnesses

if TYPE_CHECKING:
    from eval.patching.operators import Operator
    from eval.patching.readout import Readout
    from features.directions import ResidueDirections
    from lm.access import LanguageModel
    from lm.bridged import BridgedModel


OFF = "the whole model was not loaded (`verify: {in_context: false}`)"
"""Why tables about prompts are empty."""


def verify(run: Run) -> pd.DataFrame:
    """Put the head and the directions to every test, and draw up the claims."""
    from eval.patching.readout import readouts
    from lm.open import open_model

    model, bridged = open_model(run.config.model), None
    same_model(run, model)
    read = readouts(model, run.activations.tokens, run.head.layer, run.head.head)
    run.write_table("logits", head_logits(run, read))
    sources = [] if "not_testable" in run.catalog.metadata else residue_directions(run)
    operators = all_operators(run, sources) if sources else []
    if run.config.verify.in_context:
        bridged = cast("BridgedModel", open_model(run.config.model, route="bridged"))
    studies: dict[str, Callable[[], None]] = {
        "witnesses": lambda: compare_witnesses(run, model, read, sources[0] if sources else None),
        "patching": lambda: patch(run, read, sources, operators),
        "the head": lambda: study_head(run, model, bridged, sources),
        "prompts and text": lambda: _in_context(run, bridged, read, sources, operators),
    }
    for name, study in (bar := tqdm(studies.items(), leave=False, delay=1, disable=None)):
        bar.set_description(f"verify: {name}")
        study()
    claims = draw_up(run)
    run.forget_after("verify")
    rows = [{k: _plain(v) for k, v in claim._asdict().items()} for claim in claims]
    run.write_json("summary.json", {"model": run.config.model, "claims": rows})
    return pd.DataFrame(rows)


def _in_context(
    run: Run,
    model: "BridgedModel | None",
    read: "list[Readout]",
    sources: "list[list[ResidueDirections]]",
    operators: "list[list[Operator]]",
) -> None:
    """What needs the whole model; where it was not loaded, tables that say so."""
    if model is None:
        for name in (*in_context.TABLES, *reading.TABLES):
            run.write_table(name, _left_out(OFF))
        return
    _in_stream(run, model, read)
    study_context(run, model, [one for some in operators for one in some])
    study_text(run, model, sources)


def _left_out(reason: str) -> pd.DataFrame:
    """An empty table that says why it is."""
    table = pd.DataFrame()
    table.attrs["not_testable"] = reason
    return table


def _in_stream(run: Run, model: "BridgedModel", read: "list[Readout]") -> None:
    from eval.context.residual import context_table

    table = context_table(model, run.activations, read, seed=run.config.seed)
    run.write_table("context", table)


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
