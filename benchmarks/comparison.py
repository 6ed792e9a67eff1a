"""One SAE: this project's trainer, as it can be set, beside the others."""

import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from rich.table import Table

from benchmarks.measure import Settings, continued, halved
from benchmarks.runner import BFLOAT16, Options, Runner, least_and_median

PLAIN = "plain PyTorch"
SLACK = 1.01
"""The plain loop's final loss times this is the target whose time is printed."""
QUALITY = {"L0": ("l0", "{:.1f}"), "FVU": ("fvu", "{:.4f}")}
HEADINGS = (
    "steps",
    "CPU s",
    "wall s",
    "÷ ours",
    "÷ floor",
    "s to plain's loss",
    "loss",
    "to plain's",
    *QUALITY,
)
NOTE = (
    f"CPU s and wall s: min / median of the runs. ÷ ours: CPU s over those of ours. ÷ floor: over "
    "the CPU s of the fit's dense products and Adam alone. s to plain's loss: CPU s until the "
    f"curve first met the final loss of {PLAIN} + {SLACK - 1:.0%}."
)


@dataclass(frozen=True)
class Row:
    """A trainer and how it is set."""

    trainer: str
    chosen: Mapping[str, object] = field(default_factory=dict)
    """Further fields of `TrainConfig`."""
    schedule: Callable[[Settings], Settings] = lambda settings: settings
    """What it makes of the common settings."""


ROWS = {
    "ours": Row("ours"),
    "ours, bfloat16": Row("ours", BFLOAT16),
    "ours, bfloat16, continuation": Row("ours", BFLOAT16, continued),
    "SAELens": Row("SAELens"),
    "SAELens, half of the steps": Row("SAELens", schedule=halved),
    "dictionary_learning": Row("dictionary_learning"),
    "dictionary_learning, half of the steps": Row("dictionary_learning", schedule=halved),
    PLAIN: Row(PLAIN),
    f"{PLAIN}, half of the steps": Row(PLAIN, schedule=halved),
    f"{PLAIN}, continuation": Row(PLAIN, schedule=continued),
}


def measure(runner: Runner) -> None:
    """Round robin over repetitions, each on data of its own, penalties and rows."""
    options = runner.options
    rows = {name: row for name, row in ROWS.items() if not options.rows or name in options.rows}
    if unknown := set(options.rows) - set(ROWS):
        raise SystemExit(f"No such row: {', '.join(unknown)}. There are: {'; '.join(ROWS)}.")
    if any("precision" in row.chosen for row in rows.values()) and not runner.bfloat16():
        rows = {name: row for name, row in rows.items() if "precision" not in row.chosen}
    for repetition in range(options.repetitions):
        for l1 in options.l1:
            settings = Settings(l1, steps=options.steps, seed=repetition, data_seed=repetition)
            for name, row in list(rows.items()):
                result = runner.measure(name, row.trainer, row.schedule(settings), row.chosen)
                if "skipped" in result:
                    del rows[name]


def tables(results: Sequence[dict], options: Options) -> Iterator[Table]:
    for l1 in options.l1:
        if of_l1 := [r for r in results if r["settings"]["l1"] == l1 and "cpu" in r]:
            yield _table(l1, of_l1)


def _table(l1: float, results: Sequence[dict]) -> Table:
    """Figures relative to another row's are medians of pairs, each measured in one repetition."""
    by_name: dict[str, dict[int, dict]] = {}
    for result in results:
        by_name.setdefault(result["name"], {})[result["settings"]["seed"]] = result
    ours, plain = by_name.get("ours", {}), by_name.get(PLAIN, {})
    table = Table(title=f"One SAE, l1 {l1:g}", caption=NOTE)
    table.add_column("trainer")
    for heading in HEADINGS:
        table.add_column(heading, justify="right")
    for name in (name for name in ROWS if name in by_name):
        seeds = by_name[name]
        runs = list(seeds.values())
        to_ours = [run["cpu"] / ours[s]["cpu"] for s, run in seeds.items() if s in ours]
        to_plain = [run["loss"] / plain[s]["loss"] for s, run in seeds.items() if s in plain]
        times = [
            crossing(SLACK * plain[s]["loss"], run["curve"])
            for s, run in seeds.items()
            if s in plain
        ]
        table.add_row(
            name,
            f"{runs[0]['settings']['steps']:,}",
            least_and_median(run["cpu"] for run in runs),
            least_and_median(run["wall"] for run in runs),
            f"{statistics.median(to_ours):.2f}" if to_ours else "-",
            f"{statistics.median(run['cpu'] / run['floor'] for run in runs):.2f}",
            _time(times),
            f"{statistics.median(run['loss'] for run in runs):.2f}",
            f"{statistics.median(to_plain) - 1:+.1%}" if to_plain else "-",
            *(
                text.format(statistics.median(r[key] for r in runs))
                for key, text in QUALITY.values()
            ),
        )
    return table


def _time(times: Sequence[float]) -> str:
    """The median run's, where an infinite one is a run that never got there."""
    if not times:
        return "-"
    time = statistics.median_high(times)
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

    results = [result for result in results if "curve" in result]
    penalties = list(dict.fromkeys(result["settings"]["l1"] for result in results))
    titles = [f"l1 {l1:g}" for l1 in penalties]
    figure = make_subplots(1, len(penalties), subplot_titles=titles)
    shown = set()
    for result in results:
        name = result["name"]
        seconds, losses = zip(*result["curve"], strict=True)
        figure.add_scatter(
            x=seconds,
            y=losses,
            name=name,
            legendgroup=name,
            showlegend=name not in shown,
            line_color=qualitative.D3[list(ROWS).index(name)],
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
