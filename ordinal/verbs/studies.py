"""The verbs of studies beside a run: many ensembles, other dictionaries, planted truths."""

from pathlib import Path
from typing import Annotated, Literal

import tyro

from ordinal.run_folder import RUNS, existing_run
from ordinal.verbs.arguments import Settings, Target


def sweep(
    config: Target = "counting",
    /,
    *,
    sparsity: tuple[float, ...] = (),
    latents: tuple[int, ...] = (),
    members: int = 8,
    model: str | None = None,
    settings: Settings = (),
    json: bool = False,
    runs: Path = RUNS,
) -> None:
    """Fit a grid of ensembles and recommend one: sparse, and succession survives it.

    Example: ordinal sweep counting --sparsity 0.4 0.75 1 1.5 --latents 64 128

    Args:
        config: a config, or its shipped name.
        sparsity: the architecture's own setting (l1, k or l0); by default 0.5, 1, 2 and 4 times
            the config's.
        latents: widths; by default the config's and twice that.
        members: SAEs in each cell, three or more: they hold out different tokens.
        model: a model in place of the config's.
        settings: settings in place of the config's, as sae.architecture=topk.
        json: print the frontier as JSON.
        runs: where run folders lie.
    """
    from ordinal.printed.summary import print_frontier
    from ordinal.sweep import open_sweep, run_sweep

    opened = open_sweep(
        config,
        runs,
        sparsity=sparsity,
        latents=latents,
        members=members,
        model=model,
        settings=settings,
    )
    print_frontier(opened, *run_sweep(opened), json)


def baselines(run: Target, /, *, json: bool = False) -> None:
    """Does the SAE earn its place? The same tests on random, frozen and classical dictionaries.

    Example: ordinal baselines runs/counting

    Args:
        run: a run folder.
        json: print the table as JSON.
    """
    from ordinal.printed.dictionaries import print_dictionaries
    from ordinal.steps.baselines import compare_dictionaries

    opened = existing_run(run)
    print_dictionaries(opened, compare_dictionaries(opened), json)


def compare(run: Target, other: Target, /, *, json: bool = False) -> None:
    """Say how alike the numbers of two runs' models are, whatever the rotation between them.

    Example: ordinal compare runs/counting runs/gpt2

    Args:
        run: a run folder.
        other: another model's run folder.
        json: print the figures as JSON.
    """
    from ordinal.comparison import compare_runs
    from ordinal.printed.comparison import print_comparison

    runs = existing_run(run), existing_run(other)
    print_comparison(*runs, compare_runs(*runs), json)


def checkpoints(
    checkpoints: Annotated[tuple[str, ...], tyro.conf.Positional] = (),
    /,
    *,
    json: bool = False,
    out: Path | None = None,
) -> None:
    """Follow succession, and the residues that it reads, over the checkpoints of a training.

    What was measured is kept: the same again, or with more checkpoints, measures only what is new.

    Example: ordinal checkpoints out/checkpoint-500 out/checkpoint-1000

    Args:
        checkpoints: folders, NAME@REVISION of the hub, or a folder that holds checkpoint folders.
        json: print the table as JSON.
        out: the folder of the table and of the page; by default runs/NAME-checkpoints.
    """
    from ordinal.checkpoint_series import checkpoint_series
    from ordinal.checkpoint_study import study_checkpoints
    from ordinal.printed.over_training import print_over_training

    series = checkpoint_series(checkpoints)
    studied = study_checkpoints(series, out or RUNS / f"{series.name}-checkpoints")
    print_over_training(studied, json)


def bench(
    what: Annotated[Literal["discovery"], tyro.conf.Positional],
    /,
    *,
    draws: int = 3,
    runs: int = 20,
    json: bool = False,
    out: Path = RUNS / "bench-discovery",
) -> None:
    """Labels where the truth is known: planted features, and activations without any.

    Trials that the folder holds are not done again: more of them add to what is there.

    Example: ordinal bench discovery --draws 1 --runs 5

    Args:
        what: is tested.
        draws: of each planted setting: 16 settings, about 20 CPU seconds a draw.
        runs: of each of three kinds of negatives, about 3 CPU seconds a run.
        json: print both tables as JSON.
        out: the folder of outcomes and of the page.
    """
    from ordinal.bench import run_bench
    from ordinal.printed.bench import print_bench

    print_bench(run_bench(out, draws, runs), json)
