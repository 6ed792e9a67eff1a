"""What a finished SAE costs: this project's trainer beside others, interleaved in one run.

    python benchmarks/training.py --out training.json --figure training.html
    python benchmarks/training.py --optimisers
    python benchmarks/training.py --subspace
    python benchmarks/training.py --scaling

The same data, sizes and objective for each trainer, each run in a process of its own, from
initialisation to the finished SAE; README.md in this folder says how it is made fair. Tables go to
stdout, progress to stderr. Interrupted, it prints the tables of what was measured so far.
"""

import signal
import sys
from pathlib import Path

# Before this folder, where this file would hide the package `training`.
sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import tyro
from rich.console import Console

from benchmarks import comparison, optimisers, scaling, subspace
from benchmarks.runner import Options, Runner


def main() -> None:
    options = tyro.cli(Options, description=__doc__)
    parts = {optimisers: options.optimisers, subspace: options.subspace, scaling: options.scaling}
    wanted = [part for part, yes in parts.items() if yes] or [comparison]
    if len(wanted) > 1:
        raise SystemExit("One part at a time: --optimisers, --subspace or --scaling.")
    (part,) = wanted
    runner = Runner(options)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        part.measure(runner)
    except KeyboardInterrupt:
        runner.say("Interrupted.")
        raise SystemExit(130) from None
    finally:
        console = Console(width=None if sys.stdout.isatty() else 150)
        for table in part.tables(runner.results, options):
            console.print(table)
        if options.figure and part is comparison and runner.results:
            comparison.write_figure(options.figure, runner.results)


if __name__ == "__main__":
    main()
