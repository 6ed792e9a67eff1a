"""The trials of `ordinal bench discovery`: done side by side, kept as they come, never twice."""

import warnings
from collections.abc import Callable, Generator
from contextlib import closing, redirect_stderr
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pandas as pd
from tqdm import tqdm

from lm.errors import UsageError
from lm.files import read_parquet, write_parquet

if TYPE_CHECKING:
    from eval.dictionaries.trials import Outcome, Trial

TABLES = ("trials", "directions", "labels")
KEY = ["kind", "dial", "value", "seed"]


@dataclass
class Bench:
    """A folder of outcomes."""

    folder: Path
    trials: pd.DataFrame
    """One row a trial that was done."""
    directions: pd.DataFrame
    """Planted directions, by trial."""
    labels: pd.DataFrame
    """Labels that claim something, by trial."""

    @classmethod
    def open(cls, folder: Path) -> "Bench":
        """What a folder holds; empty tables where there is none.

        Raises:
            OrdinalError: a file is damaged.
        """
        if not (folder / "trials.parquet").is_file():
            return cls(folder, *(pd.DataFrame(columns=KEY) for _ in TABLES))
        return cls(folder, *(read_parquet(folder / f"{name}.parquet") for name in TABLES))

    def save(self) -> None:
        """Write the tables; `trials` last, because what it names counts as done."""
        for name in reversed(TABLES):
            write_parquet(getattr(self, name), self.folder / f"{name}.parquet")

    def only(self, trials: "list[Trial]") -> "Bench":
        """The outcomes of some trials, in their order."""
        wanted = pd.DataFrame(trials, columns=KEY)
        tables = (wanted.merge(getattr(self, name), on=KEY) for name in TABLES)
        return Bench(self.folder, *tables)


def run_bench(folder: Path, draws: int, runs: int) -> Bench:
    """Do the trials that the folder does not hold yet.

    Stopped, it keeps what was done, and goes on from there the next time.

    Args:
        folder: where the outcomes lie.
        draws: of each planted setting.
        runs: of each kind of negative.

    Raises:
        UsageError: a count is negative, or both are zero.
    """
    if draws < 0 or runs < 0 or draws + runs == 0:
        raise UsageError(
            f"--draws {draws} --runs {runs}: expected counts, one of them above zero, as in "
            "--draws 3 --runs 20."
        )
    from joblib import Parallel, delayed

    from eval.dictionaries.trials import all_trials, run_trial
    from training.workers import available_cpus

    bench, wanted = Bench.open(folder), all_trials(draws, runs)
    done = set(bench.trials[KEY].itertuples(index=False, name=None))
    left = [trial for trial in wanted if tuple(trial) not in done]
    parallel = Parallel(n_jobs=available_cpus(), return_as="generator_unordered")
    jobs = parallel(delayed(_without_a_bar)(run_trial, trial) for trial in left)
    outcomes = cast("Generator[Outcome]", jobs)
    with warnings.catch_warnings(), closing(outcomes):
        warnings.filterwarnings("ignore", module="joblib")  # says on Ctrl-C that it was stopped
        for outcome in tqdm(outcomes, "trials", len(left), leave=False, delay=1, disable=None):
            for name, new in zip(TABLES, outcome, strict=True):
                old = getattr(bench, name)
                parts = [part for part in (old, new) if len(part)]
                setattr(bench, name, pd.concat(parts, ignore_index=True) if parts else old)
            bench.save()
    return bench.only(wanted)


def _without_a_bar(run: "Callable[[Trial], Outcome]", trial: "Trial") -> "Outcome":
    """In a process of its own, whose progress bars would write over the one of all trials."""
    with redirect_stderr(StringIO()):
        return run(trial)
