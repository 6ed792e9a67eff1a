"""The command line: the steps of the method, and what people look at and take away."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro

from lm.errors import OrdinalError
from ordinal.run_folder import RUNS, Run, open_run

Target = Annotated[str, tyro.conf.Positional]
Settings = Annotated[tuple[str, ...], tyro.conf.arg(name="set", metavar="KEY=VALUE ...")]


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
    from ordinal.steps import run_missing
    from ordinal.summary import print_summary

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
    from ordinal.summary import print_heads

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
    from ordinal.steps import run_step
    from ordinal.steps.fitting import train_file
    from ordinal.summary import print_next

    if activations:
        opened = train_file(activations, runs, settings)
    else:
        opened = open_run(config, runs, model=model, sae=sae, settings=settings)
        run_step(opened, "train")
    print_next(opened, "features")


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
    from ordinal.summary import print_frontier
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
    from ordinal.steps import run_step
    from ordinal.steps.fitting import train_file
    from ordinal.summary import print_features, print_next

    opened = train_file(activations, runs) if activations else open_run(config or "counting", runs)
    if not (opened.done("features") and (label or sort != "label")):
        run_step(opened, "features")
    print_features(opened, top, json, label, sort)
    if not json:
        print_next(opened, "verify")


def verify(config: Target = "counting", /, *, json: bool = False, runs: Path = RUNS) -> None:
    """Patch the features through the successor head and draw up the claims.

    Example: ordinal verify runs/counting

    Args:
        config: a run folder (or the config that made it).
        json: print the claims as JSON.
        runs: where run folders lie.
    """
    from ordinal.steps import run_step
    from ordinal.summary import print_claims, print_next

    opened = open_run(config, runs)
    run_step(opened, "verify")
    print_claims(opened, json)
    if not json:
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


def export(
    run: Target,
    /,
    *,
    out: Path | None = None,
    format: Literal["safetensors"] = "safetensors",
) -> None:
    """Write the feature vectors: one safetensors file of named vectors with their evidence.

    Example: ordinal export runs/counting --out vectors.safetensors

    Args:
        run: a run folder.
        out: the file; by default RUN/export/vectors.safetensors.
        format: of the file.
    """
    from ordinal.export.vectors import export_vectors

    path = export_vectors(_finished(run), out)
    print(f"Wrote {path} ({format}). Load it: ordinal.load_vectors({str(path)!r})")


def _finished(folder: str) -> Run:
    from ordinal.run_folder import existing_run

    opened = existing_run(folder)
    opened.require("heads", "train", "features", "verify")
    return opened


VERBS = {f.__name__: f for f in (run, heads, train, sweep, features, verify, report, export)}


def main() -> None:
    """Entry point: every expected error is one line; a traceback comes with --debug alone."""
    # On a shared machine, threads that spin while they wait make small products 3x slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = [word for word in sys.argv[1:] if word != "--debug"]
    debug = len(arguments) < len(sys.argv) - 1
    try:
        tyro.extras.subcommand_cli_from_dict(
            VERBS,
            prog="ordinal",
            description="Find the number features of a language model, prove that they are causal, "
            "and take them away for editing. Start with: ordinal run",
            args=arguments,
        )
    except OrdinalError as error:
        if debug:
            raise
        sys.exit(_fail(str(error), error.exit_code))
    except KeyboardInterrupt:
        sys.exit(_fail("Stopped. Finished steps are kept; type the same again to go on.", 130))
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except Exception as error:
        if debug:
            raise
        message = " ".join(f"{type(error).__name__}: {error}".split())
        sys.exit(_fail(f"{message} (not expected; --debug shows where)", 1))


def _fail(message: str, code: int) -> int:
    print(f"ordinal: {message}", file=sys.stderr)
    return code
