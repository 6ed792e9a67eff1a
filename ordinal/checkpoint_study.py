"""`ordinal checkpoints`: every checkpoint measured once, its row kept as soon as it is there."""

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
from tqdm import tqdm

from lm.errors import UsageError
from lm.files import read_parquet, write_parquet
from ordinal.checkpoint_series import Checkpoint, Series
from ordinal.config import TokensConfig

if TYPE_CHECKING:
    from lm.access import LanguageModel

TABLE = "checkpoints.parquet"


class OverTraining(NamedTuple):
    """What was measured, and where it lies."""

    folder: Path
    series: Series
    table: pd.DataFrame
    """One row a checkpoint of the series, in its order; see `study_checkpoints`."""


def study_checkpoints(series: Series, folder: Path) -> OverTraining:
    """Measure the checkpoints that the folder holds no row of, the last one first.

    The head that is fixed for all is the one that the last checkpoint chooses. A row that was
    measured before stands as long as the checkpoint's files and the fixed head are the same; rows
    of checkpoints that are not asked for stay in the file.

    Args:
        series: the checkpoints.
        folder: where `checkpoints.parquet` lies: `checkpoint`, `label`, `step`, `version` (of the
            files), and what `eval.heads.over_training.measure_checkpoint` gives.

    Raises:
        UsageError: there is no such checkpoint, or one is of another model or tokenizer.
        OrdinalError: one is incomplete or corrupt.
    """
    from eval.heads.over_training import Head, measure_checkpoint
    from lm.open import open_model
    from lm.ordinals import load_tasks, ordinal_tokens

    path = folder / TABLE
    old = read_parquet(path).to_dict("records") if path.is_file() else []
    rows: dict[str, dict[str, Any]] = {
        row["checkpoint"]: {str(name): value for name, value in row.items()} for row in old
    }
    *others, last = series.checkpoints
    reference = open_model(last.source)
    config = TokensConfig()
    tasks = load_tasks(config.tasks_file, config.numbers)
    tokens, fixed = ordinal_tokens(reference.tokenizer, tasks), None
    for checkpoint in tqdm([last, *others], "checkpoints", leave=False, delay=1, disable=None):
        model = reference if checkpoint is last else open_model(checkpoint.source)
        _same_kind(model, reference)
        about = {**checkpoint._asdict(), "version": _version(checkpoint, model)}
        about["checkpoint"] = about.pop("source")
        row = rows.get(checkpoint.source, {})
        head = fixed or Head(row.get("layer", -1), row.get("head", -1))
        kept = row.get("version"), row.get("fixed_layer"), row.get("fixed_head")
        if kept != (about["version"], *head):
            found = measure_checkpoint(model, tokens, fixed, numbers=config.scored_numbers)
            row = rows[checkpoint.source] = about | found
            write_parquet(pd.DataFrame(list(rows.values())).sort_values("step"), path)
        fixed = fixed or Head(row["layer"], row["head"])
    table = pd.DataFrame([rows[checkpoint.source] for checkpoint in series.checkpoints])
    return OverTraining(folder, series, table)


def _same_kind(model: "LanguageModel", reference: "LanguageModel") -> None:
    """Raises UsageError when the two cannot be checkpoints of one training."""
    one, other = model.info, reference.info
    for what in ("family", "n_layers", "n_heads", "d_model", "d_vocab"):
        mine, its = getattr(one, what), getattr(other, what)
        if mine != its:
            raise UsageError(
                f"{one.name} is no checkpoint of the same training as {other.name}: {what} is "
                f"{mine} there and {its} here. Give checkpoints of one model."
            )
    if model.tokenizer.get_vocab() != reference.tokenizer.get_vocab():
        raise UsageError(
            f"{one.name} has another tokenizer than {other.name}. Give checkpoints of one model, "
            "each with its tokenizer.json."
        )


def _version(checkpoint: Checkpoint, model: "LanguageModel") -> str:
    """Tells when a checkpoint is another: a hub's commit, or when a folder's files were written.

    The headers of a folder's files, which its revision is of, are the same all through training.
    """
    revision, folder = model.info.revision or "", Path(checkpoint.source)
    if not folder.is_dir():
        return revision
    written = max(file.stat().st_mtime_ns for file in folder.glob("*.safetensors"))
    return f"{revision[:16]} {written}"
