"""An ensemble: members side by side, against SAELens one after the other."""

from collections.abc import Iterator, Sequence

from rich.table import Table

from benchmarks.measure import Settings, continued
from benchmarks.runner import BFLOAT16, Options, Runner

ENSEMBLES = (1, 2, 8, 32, 100)
CONTINUED = "ours, bfloat16, continuation"
OURS = {"ours": {}, CONTINUED: BFLOAT16}
THEIRS = {"SAELens, PyTorch's threads": None, "SAELens, one thread": 1}


def measure(runner: Runner) -> None:
    """The small ensembles first; SAELens with PyTorch's default of threads, and with one."""
    options = runner.options
    settings = Settings(l1=options.l1[0], steps=options.steps)
    quick = runner.bfloat16()
    for name, threads in THEIRS.items():
        runner.measure(name, "SAELens", settings, members=options.members, threads=threads)
    for members in ENSEMBLES:
        if members > options.measured:
            break
        for name, chosen in OURS.items():
            if quick or "precision" not in chosen:
                each = continued(settings) if name == CONTINUED else settings
                runner.measure(name, "ours", each, chosen, members=members, threads=None)


def tables(results: Sequence[dict], options: Options) -> Iterator[Table]:
    results = [result for result in results if "cpu" in result]
    names = [name for name in (*OURS, *THEIRS) if any(r["name"] == name for r in results)]
    if not names:
        return
    table = Table(
        title="An ensemble: CPU s / wall s",
        caption="SAELens ÷ ours: of the wall s, with SAELens's faster number of threads. "
        "~ extrapolated from the members that were measured.",
    )
    for heading in ("members", *names, *(f"SAELens ÷ {name}" for name in OURS if name in names)):
        table.add_column(heading, justify="right")
    for members in ENSEMBLES:
        found = {name: _seconds(results, name, members) for name in names}
        theirs = [wall for name, (_, wall, _) in found.items() if name in THEIRS]
        table.add_row(
            str(members),
            *(
                f"{'' if exact else '~'}{cpu:.1f} / {wall:.1f}"
                for cpu, wall, exact in found.values()
            ),
            *(
                f"{min(theirs) / found[name][1]:.1f}" if theirs else "-"
                for name in OURS
                if name in names
            ),
        )
    yield table


def _seconds(results: Sequence[dict], name: str, members: int) -> tuple[float, float, bool]:
    """CPU and wall seconds of that many members, and whether they were measured."""
    runs = {r["members"]: r for r in results if r["name"] == name}
    run = runs.get(members) or runs[max(runs)]
    if run["members"] == members:
        return run["cpu"], run["wall"], True
    if members < len(run["each"]):  # one after the other: the first of them
        cpu, wall = (sum(column) for column in zip(*run["each"][:members], strict=True))
        return cpu, wall, True
    times = members / run["members"]
    return times * run["cpu"], times * run["wall"], False
