"""The command line's verbs for notebooks."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from ordinal.checkpoint_series import checkpoint_series
from ordinal.checkpoint_study import study_checkpoints
from ordinal.run_folder import RUNS, Run, existing_run, open_run
from ordinal.steps import run_missing
from ordinal.steps.scanning import scan


def run(
    config: str | Path = "counting",
    *,
    model: str | None = None,
    sae: str | None = None,
    settings: Sequence[str] = (),
    runs: Path = RUNS,
) -> Run:
    """Do every step of an experiment whose result is not there yet.

    Args:
        config: a YAML file, the name of one that ships, or a run folder.
        model: a model in place of the config's.
        sae: an SAE trained elsewhere, to study: a SAELens folder, or `RELEASE:SAE_ID`.
        settings: `KEY=VALUE` in place of the config's, as `["sae.l1=0.5"]`.
        runs: where run folders lie.

    Returns:
        The run: `.catalog`, `.ensemble`, `.activations`, `.head`, `.table("arithmetic")`.

    Example:
        >>> found = ordinal.run("counting")
        >>> found.catalog["mod10/3"]
    """
    opened = open_run(config, runs, model=model, sae=sae, settings=settings)
    run_missing(opened)
    return opened


def load_run(folder: str | Path) -> Run:
    """Open a run folder without computing anything.

    Example:
        >>> catalog = ordinal.load_run("runs/counting").catalog
        >>> catalog.labels
    """
    return existing_run(folder)


def successor_heads(model: str, numbers: tuple[int, int] = (1, 200)) -> pd.DataFrame:
    """Every head's successor score, best first, from the weights alone (section 2).

    Args:
        model: `counting`, a folder, or a hub name.
        numbers: first and last number that count.
    """
    return scan(model, numbers)[0]


def over_training(*checkpoints: str | Path, out: Path | None = None) -> pd.DataFrame:
    """Succession and mod-10 strength at each checkpoint of a training, from the weights alone.

    Args:
        checkpoints: folders, `NAME@REVISION` of the hub, or a folder that holds checkpoint folders.
        out: the folder that keeps what was measured; by default `runs/NAME-checkpoints`.

    Returns:
        One row a checkpoint, in order: see `eval.heads.over_training.measure_checkpoint`.

    Example:
        >>> table = ordinal.over_training("out")  # out/checkpoint-500, out/checkpoint-1000, ...
        >>> table.plot("step", "fixed_score")
    """
    series = checkpoint_series([str(checkpoint) for checkpoint in checkpoints])
    return study_checkpoints(series, out or RUNS / f"{series.name}-checkpoints").table
