"""The verbs of the method's steps."""

import sys
from pathlib import Path

from ordinal.run_folder import RUNS, open_run
from ordinal.verbs.arguments import Settings, Target


def run(
    config: Target = "counting",
    /,
    *,
    model: str | None = None,
    sae: str | None = None,
    settings: Settings = (),
    runs: Path = RUNS,
) -> None:
    """From a model to verified number features: every step whose result is not there yet.

    Example: ordinal run counting

    Args:
        config: a YAML file, the name of one that ships, or a run folder to finish.
        model: a model in place of the config's: a folder or a hub name.
        sae: study this SAE, trained elsewhere: a SAELens folder, or RELEASE:SAE_ID.
        settings: settings in place of the config's, as sae.l1=0.5; the run is named after them.
        runs: where run folders lie.
    """
    from ordinal.printed.summary import print_summary
    from ordinal.steps import run_missing

    opened = open_run(config, runs, model=model, sae=sae, settings=settings)
    if not run_missing(opened):
        print(f"{opened.folder} is finished; nothing was computed again.", file=sys.stderr)
    print_summary(opened)


def heads(
    model: Target,
    /,
    *,
    numbers: tuple[int, int] = (1, 200),
    top: int = 10,
    json: bool = False,
) -> None:
    """Score every head of a model as a successor head, from its weights alone.

    Example: ordinal heads gpt2

    Args:
        model: `counting`, a folder, a hub name, or a run folder or config (then it is its step).
        numbers: first and last number that count.
        top: heads to print (all with --json).
        json: print the whole table as JSON.
    """
    from ordinal.printed.summary import print_heads

    print_heads(model, numbers, top, json)


def train(
    config: Target = "counting",
    /,
    *,
    model: str | None = None,
    activations: Path | None = None,
    sae: str | None = None,
    settings: Settings = (),
    runs: Path = RUNS,
) -> None:
    """Harvest M(t) and fit the sparse autoencoders, again if they are there.

    Example: ordinal train runs/counting

    Args:
        config: a config, its shipped name, or a run folder.
        model: a model in place of the config's.
        activations: a safetensors file of your own to fit, in place of a model's M(t).
        sae: take this SAE, trained elsewhere: a SAELens folder, or RELEASE:SAE_ID.
        settings: settings in place of the config's, as sae.l1=0.5; the run is named after them.
        runs: where run folders lie.
    """
    from ordinal.printed.summary import print_next
    from ordinal.steps import run_step
    from ordinal.steps.fitting import train_file

    if activations:
        opened = train_file(activations, runs, settings)
    else:
        opened = open_run(config, runs, model=model, sae=sae, settings=settings)
        run_step(opened, "train")
    print_next(opened, "features")


def features(
    config: Target | None = None,
    /,
    *,
    activations: Path | None = None,
    label: str = "",
    sort: str = "label",
    top: int = 20,
    json: bool = False,
    runs: Path = RUNS,
) -> None:
    """Label the latents: residue, digit, order, task, form, or neither.

    Example: ordinal features runs/counting --label mod10 --sort r2_held_out

    Args:
        config: a run folder (or the config that made it).
        activations: a safetensors file of your own; SAEs are trained on it first.
        label: print labels that start with this: mod10, mod10/3, ordinal, interval, task, form.
        sort: column to print by, strongest first.
        top: features to print (all with --json).
        json: print the whole catalog as JSON.
        runs: where run folders lie.
    """
    from ordinal.printed.structure import print_structure
    from ordinal.printed.summary import print_features, print_next
    from ordinal.steps import run_step
    from ordinal.steps.fitting import train_file

    opened = train_file(activations, runs) if activations else open_run(config or "counting", runs)
    if not (opened.done("features") and (label or sort != "label")):
        run_step(opened, "features")
    print_features(opened, top, json, label, sort)
    if not json:
        print_structure(opened)
        print_next(opened, "verify")


def verify(config: Target = "counting", /, *, json: bool = False, runs: Path = RUNS) -> None:
    """Patch the features through the successor head and draw up the claims.

    Example: ordinal verify runs/counting

    Args:
        config: a run folder (or the config that made it).
        json: print the claims as JSON.
        runs: where run folders lie.
    """
    from ordinal.printed.context import print_context
    from ordinal.printed.controls import print_controls
    from ordinal.printed.scorecard import print_claims, print_operators
    from ordinal.printed.structure import print_witnesses
    from ordinal.printed.summary import print_next
    from ordinal.printed.text import print_text
    from ordinal.steps import run_step

    opened = open_run(config, runs)
    run_step(opened, "verify")
    print_claims(opened, json)
    if not json:
        print_operators(opened)
        print_witnesses(opened)
        print_controls(opened)
        print_context(opened)
        print_text(opened)
        print_next(opened, "report")


def report(config: Target = "counting", /, *, runs: Path = RUNS) -> None:
    """Write report.html again: one file that opens without a network.

    Example: ordinal report runs/counting

    Args:
        config: a run folder (or the config that made it).
        runs: where run folders lie.
    """
    from ordinal.steps import run_step

    run_step(open_run(config, runs), "report")
