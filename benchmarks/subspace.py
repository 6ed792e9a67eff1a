"""Training in the span of the tokens where they are fewer than d_model: its cost and its effect."""

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace

from rich.table import Table

from benchmarks.measure import Settings
from benchmarks.runner import SPARSE_START, Options, Runner, least_and_median, mean_and_error

ROWS = 1200
WIDTHS = (768, ROWS, 2048, 5120)
WIDE = [width for width in WIDTHS if width > ROWS]
RATIO = (5120, ROWS)
"""The cost at the first d_model is given as a multiple of that at the second."""
QUALITY_WIDTH = 2048
HELD_OUT = 300
SHARE = 10
"""SAELens is measured for one in so many steps: its step costs the same however sparse it is."""
OURS, QUICK = "ours", "ours, bfloat16, sparse start"
WHOLE, SAELENS = "ours, no subspace", "SAELens"
WITH, WITHOUT = "in the subspace", "without"


def measure(runner: Runner) -> None:
    _measure_cost(runner)
    _measure_quality(runner)


def _settings(options: Options, d_model: int, seed: int) -> Settings:
    """With the penalty that asks for the same sparsity at each d_model.

    On inputs scaled to a mean squared norm of d_model the codes grow with its root, and the squared
    error with itself.
    """
    l1 = options.l1[0] * math.sqrt(d_model / Settings.d_in)
    return Settings(l1=l1, d_in=d_model, rows=ROWS, steps=options.steps, seed=seed)


def _measure_cost(runner: Runner) -> None:
    """Whole fits, with the preparation of the basis."""
    options, quick = runner.options, runner.bfloat16()
    for repetition in range(options.repetitions):
        for width in WIDTHS:
            settings = _settings(options, width, repetition)
            runner.measure(OURS, "ours", settings)
            if quick:
                runner.measure(QUICK, "ours", settings, SPARSE_START)
            if width in WIDE:
                runner.measure(WHOLE, "ours", settings, {"subspace": False})
            few = replace(settings, steps=max(1, options.steps // SHARE))
            runner.measure(SAELENS, "SAELens", few)


def _measure_quality(runner: Runner) -> None:
    """Each seed draws its own data; the two fits of a pair share them."""
    for seed in range(runner.options.seeds):
        settings = _settings(runner.options, QUALITY_WIDTH, seed)
        settings = replace(settings, held_out=HELD_OUT, data_seed=seed)
        runner.measure(WITH, "ours", settings)
        runner.measure(WITHOUT, "ours", settings, {"subspace": False})


def tables(results: Sequence[dict], options: Options) -> Iterator[Table]:
    cost = [r for r in results if r["name"] in (OURS, QUICK, WHOLE, SAELENS) and "cpu" in r]
    quality = [r for r in results if r["name"] in (WITH, WITHOUT) and "cpu" in r]
    if cost:
        yield _cost_table(cost)
    if quality:
        yield _quality_table(quality)


def _cost_table(results: Sequence[dict]) -> Table:
    names = [
        name for name in (OURS, QUICK, WHOLE, SAELENS) if any(r["name"] == name for r in results)
    ]
    table = Table(
        title=f"{ROWS:,} tokens: CPU s of one SAE, min / median",
        caption=f"L0: of {OURS}. {SAELENS}: extrapolated from one in {SHARE} steps. {WHOLE}: as "
        f"ours where d_model is no more than the tokens.",
    )
    for heading in ("d_model", "L0", *names):
        table.add_column(heading, justify="right")

    def runs(name: str, width: int) -> dict[int, float]:
        """CPU seconds by repetition."""
        times = SHARE if name == SAELENS else 1
        return {
            r["settings"]["seed"]: times * r["cpu"]
            for r in results
            if (r["name"], r["settings"]["d_in"]) == (name, width)
        }

    for width in WIDTHS:
        l0 = [r["l0"] for r in results if (r["name"], r["settings"]["d_in"]) == (OURS, width)]
        cells = [runs(name, width) for name in names]
        table.add_row(
            f"{width:,}",
            f"{statistics.median(l0):.1f}" if l0 else "-",
            *(least_and_median(cell.values()) if cell else "-" for cell in cells),
        )
    ratios = []
    for name in names:
        wide, narrow = (runs(name, width) for width in RATIO)
        narrow = runs(OURS, RATIO[1]) if name == WHOLE else narrow
        pairs = [wide[seed] / narrow[seed] for seed in wide if seed in narrow]
        ratios.append(f"{statistics.median(pairs):.2f}" if pairs else "-")
    table.add_section()
    table.add_row(f"{RATIO[0]:,} ÷ {RATIO[1]:,}", "", *ratios)
    return table


def _quality_table(results: Sequence[dict]) -> Table:
    columns = {
        "loss, fitted": lambda r: r["loss"],
        "loss, held out": lambda r: r["held_out"]["loss"],
        "L0, fitted": lambda r: r["l0"],
        "L0, held out": lambda r: r["held_out"]["l0"],
        "CPU s": lambda r: r["cpu"],
    }
    by_name = {
        name: {r["settings"]["seed"]: r for r in results if r["name"] == name}
        for name in (WITH, WITHOUT)
    }
    table = Table(
        title=f"d_model {QUALITY_WIDTH:,}, {ROWS:,} tokens fitted, {HELD_OUT} held out",
        caption="Means over the seeds with their standard errors; the ratio is paired by seed.",
    )
    table.add_column("")
    for heading in columns:
        table.add_column(heading, justify="right")
    for name, runs in by_name.items():
        if runs:
            table.add_row(
                name, *(mean_and_error(map(get, runs.values())) for get in columns.values())
            )
    both = sorted(by_name[WITH].keys() & by_name[WITHOUT].keys())
    if both:
        ratios = [
            mean_and_error((get(by_name[WITH][s]) / get(by_name[WITHOUT][s]) for s in both), 4)
            for get in columns.values()
        ]
        table.add_section()
        table.add_row(f"ratio, {len(both)} seeds", *ratios)
    return table
