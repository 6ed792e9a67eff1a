"""Adam against 2-Adam (k-Adam of Gould and Tanaka, arXiv 2411.05746, at k = 2)."""

import statistics
from collections.abc import Iterator, Sequence

from rich.table import Table

from benchmarks.measure import Settings
from benchmarks.runner import SPARSE_START, Options, Runner, mean_and_error

OPTIMISERS = {"Adam": 1, "2-Adam": 2}
RATES = (3e-4, 1e-3, 3e-3, 6e-3)


def measure(runner: Runner) -> None:
    """One grid of learning rates for both, at a third of the steps and at all of them."""
    options = runner.options
    chosen = SPARSE_START if runner.bfloat16() else {"start_density": 0.05}
    for repetition in range(options.repetitions):
        for steps in _lengths(options):
            for rate in RATES:
                settings = Settings(
                    l1=options.l1[0], steps=steps, learning_rate=rate, seed=repetition
                )
                for name, levels in OPTIMISERS.items():
                    runner.measure(name, "ours", settings, {**chosen, "normalisations": levels})


def _lengths(options: Options) -> tuple[int, int]:
    return max(1, options.steps // 3), options.steps


def tables(results: Sequence[dict], options: Options) -> Iterator[Table]:
    table = Table(
        title=f"Final loss, l1 {options.l1[0]:g}",
        caption="Mean over the repetitions with its standard error; * the best learning rate.",
    )
    table.add_column("learning rate")
    columns = []
    for steps in _lengths(options):
        for name in OPTIMISERS:
            table.add_column(f"{name}, {steps:,} steps", justify="right")
            of_column = [r for r in results if (r["name"], r["settings"]["steps"]) == (name, steps)]
            columns.append(of_column)
    losses = [{rate: _losses(column, rate) for rate in RATES} for column in columns]
    best = [
        min((statistics.mean(runs) for runs in column.values() if runs), default=None)
        for column in losses
    ]
    for rate in RATES:
        cells = []
        for column, least, found in zip(columns, best, losses, strict=True):
            runs = found[rate]
            if any("diverged" in r for r in column if r["settings"]["learning_rate"] == rate):
                cells.append("diverged")
            elif runs:
                cells.append(
                    mean_and_error(runs) + (" *" if statistics.mean(runs) == least else "")
                )
            else:
                cells.append("-")
        table.add_row(f"{rate:g}", *cells)
    seconds = [[r["cpu"] for r in column if "cpu" in r] for column in columns]
    table.add_section()
    table.add_row("CPU s, median", *(f"{statistics.median(s):.1f}" if s else "-" for s in seconds))
    yield table


def _losses(results: Sequence[dict], rate: float) -> list[float]:
    """Of all repetitions at a learning rate; none if one of them diverged."""
    of_rate = [r for r in results if r["settings"]["learning_rate"] == rate]
    return [] if any("diverged" in r for r in of_rate) else [r["loss"] for r in of_rate]
