"""What a finished SAE costs: this project's trainer beside others, interleaved in one run.

    python benchmarks/training.py --out training.json --figure training.html
    python benchmarks/training.py --scaling --members 4

The same data, sizes, number of optimiser steps and objective for each trainer (`peers.py` says how
that was made so), each run in a process of its own, from initialisation to the finished SAE. CPU
seconds are of all threads; the first part gives PyTorch one. The floor is what the matrix products
and Adam cost on their own in that process (`measure.floor`).

SAELens is a dependency of this project. The other peer is not, and what it depends on would bring
another PyTorch: install it last and alone, `pip install --no-deps dictionary-learning`. A trainer
that is not installed is left out.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path

# Before this folder, where this file would hide the package `training`.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tyro
from rich.console import Console
from rich.table import Table

from benchmarks.measure import Settings

ROOT = Path(__file__).resolve().parent.parent
NAMES = ("ours", "SAELens", "dictionary_learning", "plain PyTorch")
REFERENCE = "plain PyTorch"
SLACK = 1.01
"""The reference's final loss times this is the target whose time is printed."""
QUALITY = {"loss": "{:.2f}", "l0": "{:.1f}", "fvu": "{:.4f}"}
WIDTHS = (768, 1200, 2048, 5120)
ENSEMBLES = (1, 2, 8, 32, 100)


@dataclass(frozen=True)
class Options:
    """Cost of training an SAE, against other trainers."""

    steps: int = 3000
    """Optimiser steps of each fit."""
    repetitions: int = 3
    """Runs of each trainer, round robin."""
    l1: tuple[float, ...] = (2.6, 0.26)
    """Penalties; the plain loop ends at an L0 of about 12 and 100 with these."""
    trainers: tuple[str, ...] = NAMES
    """Which to run."""
    scaling: bool = False
    """Measure cost against d_model and the number of members instead."""
    members: int = 2
    """Scaling: SAEs of SAELens that are measured; larger ensembles are extrapolated."""
    out: Path | None = None
    """JSON file for all results."""
    figure: Path | None = None
    """HTML file for the objective against CPU seconds."""


def run(trainer: str, settings: Settings, members: int = 0, threads: int | None = 1) -> dict:
    """Measure one trainer in a fresh process; `threads` None leaves PyTorch its default."""
    job = {"trainer": trainer, "settings": asdict(settings), "members": members}
    env = {**os.environ, "TQDM_DISABLE": "1", "WANDB_MODE": "disabled"}
    env.pop("OMP_NUM_THREADS", None)
    if threads:
        env["OMP_NUM_THREADS"] = env["MKL_NUM_THREADS"] = str(threads)
    command = [sys.executable, "-m", "benchmarks.peers", json.dumps(job)]
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{trainer} failed:\n{done.stderr}")
    return {**job, **json.loads(done.stdout.splitlines()[-1])}


def write(options: Options, results: Sequence[dict]) -> None:
    """The results so far, to `--out`."""
    if options.out:
        options.out.write_text(json.dumps(results, indent=1) + "\n")


def compare(options: Options, console: Console) -> list[dict]:
    """Round robin over repetitions, penalties and trainers."""
    results, names = [], list(options.trainers)
    for repetition in range(options.repetitions):
        for l1 in options.l1:
            for name in tuple(names):
                result = run(name, Settings(l1=l1, steps=options.steps, seed=repetition))
                if "skipped" in result:
                    names.remove(name)
                    console.print(f"[dim]{name} left out: {result['skipped']}[/]")
                    continue
                results.append(result)
                write(options, results)  # a long run may be interrupted
                spent, loss, l0 = (result[key] for key in ("cpu", "loss", "l0"))
                about = f"{spent:.1f} CPU s, loss {loss:.2f}, L0 {l0:.1f}"
                console.print(f"[dim]l1 {l1:g}, {name}: {about}[/]")
    for l1 in options.l1:
        console.print(comparison_table(l1, [r for r in results if r["settings"]["l1"] == l1]))
    return results


def comparison_table(l1: float, results: Sequence[dict]) -> Table:
    """One row for each trainer; seconds as the least and the median of its repetitions.

    Ratios are medians too, each of two figures that were measured within minutes: of a repetition
    for ours, of a process for the floor.
    """
    by_name = {name: [r for r in results if r["trainer"] == name] for name in NAMES}
    by_name = {name: runs for name, runs in by_name.items() if runs}
    ours = {run["settings"]["seed"]: run["cpu"] for run in by_name.get("ours", ())}
    table = Table(title=f"l1 {l1:g}: seconds are min / median")
    table.add_column("trainer")
    target = None
    if REFERENCE in by_name:
        target = SLACK * statistics.median(r["loss"] for r in by_name[REFERENCE])
    for heading in ("CPU s", "wall s", "÷ ours", "÷ floor", "CPU s to target", *QUALITY):
        table.add_column(heading, justify="right")
    for name, runs in by_name.items():
        to_ours = [run["cpu"] / ours[run["settings"]["seed"]] for run in runs if ours]
        to_floor = [run["cpu"] / run["floor"] for run in runs]
        table.add_row(
            name,
            least_and_median(run["cpu"] for run in runs),
            least_and_median(run["wall"] for run in runs),
            f"{statistics.median(to_ours):.2f}" if ours else "-",
            f"{statistics.median(to_floor):.2f}",
            "-" if target is None else reached(target, runs),
            *(QUALITY[key].format(statistics.median(r[key] for r in runs)) for key in QUALITY),
        )
    table.caption = f"target: the loss of {REFERENCE} + {SLACK - 1:.0%}"
    return table


def least_and_median(values: Iterable[float]) -> str:
    values = list(values)
    return f"{min(values):.1f} / {statistics.median(values):.1f}"


def reached(target: float, runs: Sequence[dict]) -> str:
    """CPU seconds at which the curve first meets the target: the median run, or never."""
    times = sorted(crossing(target, run["curve"]) for run in runs)
    time = times[len(times) // 2]
    return f"{time:.1f}" if time < float("inf") else "never"


def crossing(target: float, curve: Sequence[tuple[float, float]]) -> float:
    """Where the curve of (seconds, loss) first falls to the target, between two of its points."""
    for (before, high), (after, low) in pairwise(curve):
        if high <= target:
            return before
        if low <= target:
            return before + (after - before) * (high - target) / (high - low)
    return float("inf")


def write_figure(path: Path, results: Sequence[dict]) -> None:
    """The common objective at the full penalty, against CPU seconds: a panel for each penalty."""
    from plotly.colors import qualitative
    from plotly.subplots import make_subplots

    penalties = list(dict.fromkeys(result["settings"]["l1"] for result in results))
    titles = [f"l1 {l1:g}" for l1 in penalties]
    figure = make_subplots(1, len(penalties), subplot_titles=titles)
    shown = set()
    for result in results:
        name = result["trainer"]
        seconds, losses = zip(*result["curve"], strict=True)
        figure.add_scatter(
            x=seconds,
            y=losses,
            name=name,
            legendgroup=name,
            showlegend=name not in shown,
            line_color=qualitative.D3[NAMES.index(name)],
            mode="lines",
            row=1,
            col=1 + penalties.index(result["settings"]["l1"]),
        )
        shown.add(name)
    figure.update_xaxes(title="CPU seconds")
    figure.update_yaxes(title="objective, all rows, full penalty", type="log", col=1)
    figure.update_yaxes(type="log")
    figure.update_layout(template="plotly_white")
    figure.write_html(path)


def scale(options: Options, console: Console) -> list[dict]:
    """Cost against d_model, and against the number of members, with PyTorch's default threads."""
    base = Settings(l1=options.l1[0], steps=options.steps)
    names = [name for name in options.trainers if name in ("ours", "SAELens")]
    results = []

    def measured(name: str, settings: Settings, members: int) -> dict:
        results.append(run(name, settings, members, threads=None))
        write(options, results)
        return results[-1]

    def table(title: str, unit: str) -> Table:
        table = Table(title=f"{title}: CPU s / wall s")
        for heading in (unit, *names):
            table.add_column(heading, justify="right")
        return table

    widths = table("one SAE", "d_model")
    for width in WIDTHS:
        settings = replace(base, d_in=width)
        widths.add_row(str(width), *(seconds(measured(name, settings, 1), 1) for name in names))
    console.print(widths)

    ensembles = table("an ensemble", "members")
    one_by_one = {name: measured(name, base, options.members) for name in names if name != "ours"}
    for members in ENSEMBLES:
        ensembles.add_row(
            str(members),
            *(
                seconds(one_by_one.get(name) or measured(name, base, members), members)
                for name in names
            ),
        )
    console.print(ensembles)
    return results


def seconds(result: dict, members: int) -> str:
    """The cost of that many members, extrapolated where fewer were measured one by one."""
    if "skipped" in result:
        return result["skipped"]
    each = result.get("each", [(result["cpu"], result["wall"])])
    if result["members"] == members or members <= len(each):
        cpu, wall = (sum(column) for column in zip(*each[:members], strict=True))
        return f"{cpu:.1f} / {wall:.1f}"
    times = members / result["members"]
    note = f" (extrapolated from {result['members']})"
    return f"{times * result['cpu']:.0f} / {times * result['wall']:.0f}{note}"


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    console = Console(width=None if sys.stdout.isatty() else 120)
    results = (scale if options.scaling else compare)(options, console)
    if options.figure and not options.scaling:
        write_figure(options.figure, results)


if __name__ == "__main__":
    main()
