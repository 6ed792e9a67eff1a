"""The record of a training run: wandb, and the same figures in `metrics.jsonl`."""

import contextlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Literal, Self

import numpy as np

from training.metrics import MemberMetrics
from training.wandb_run import WandbRun, choose_run_id, kept_run_id, mend_offline_files

if TYPE_CHECKING:
    import pandas as pd

METRICS_FILE = "metrics.jsonl"
QUANTILES = {"low": 0.1, "median": 0.5, "high": 0.9}
CURVES = ("loss", "fvu", "fvu_held_out", "l0", "dead")
ArtifactKind = Literal["saes", "catalog", "report"]


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


class Tracker:
    """One wandb run for one ensemble, kept inside the run folder.

    Without an account it records offline. A tracker that fails says so in one line, and never
    stops what it tracks. `metrics.jsonl` has a line for each member and for the quantiles over the
    members at each step, and no clock readings: the same run writes the same file.

    Args:
        name: of the wandb run, and of the group that its members' runs join.
        config: every setting; the git revision is added.
        resume: go on with the wandb run of the training that was killed in this folder. All steps
            are logged again, from the first: `metrics.jsonl` is written anew, and wandb gets the
            steps that it has not.
        member_runs: also write a wandb run for each member, at the end. Not within a sweep, whose
            agent has one run for each trial.
        say: takes the lines meant for people.

    Raises:
        OSError: `metrics.jsonl` cannot be written.

    Example:
        with Tracker(folder, name="counting", config=config.model_dump()) as tracker:
            ensemble = train(activations, config, log=tracker.log)
            ensemble.save(folder)
            tracker.log_artifact("saes", folder / "saes")
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        name: str,
        config: Mapping[str, Any],
        resume: bool = False,
        member_runs: bool = False,
        say: Callable[[str], None] = _to_stderr,
    ) -> None:
        self.folder = Path(folder)
        self.name = name
        self.config = {**config, **_git()}
        self._resume = resume
        self._member_runs = member_runs and "WANDB_SWEEP_ID" not in os.environ
        self._say = say
        self._run: WandbRun | None = None
        self._recorded: dict[str, int] = {}
        self._file: IO[str] | None = None
        self._steps: list[list[MemberMetrics]] = []
        self._members: pd.DataFrame | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = (self.folder / METRICS_FILE).open("w")
        with self._never_stopping():
            chosen = choose_run_id(self.folder, resume=self._resume)
            self._run = self._open(chosen, self.name, "ensemble")
            self._recorded = mend_offline_files(self.folder, besides=self._run.sync_dir)
            self._run.skip_through(self._recorded.get(self._run.id, -1))
        return self

    def log(self, members: list[MemberMetrics]) -> None:
        """Record all members at one step.

        Raises:
            RuntimeError: outside a `with` statement.
        """
        self._steps.append(members)
        for metrics in members:
            self._write(metrics._asdict())
        step, figures = members[0].step, _quantiles(members)
        self._write({"step": step, **figures})
        with self._never_stopping():
            if self._run is not None:
                self._run.log(figures, step)

    def log_members(self, table: "pd.DataFrame") -> None:
        """Give the table of members at the end, in place of the last metrics of each."""
        self._members = table

    def log_artifact(self, kind: ArtifactKind, *paths: Path) -> None:
        """Log files or folders with the run, as the artifact `<name>-<kind>`."""
        with _forgiving(self._say, f"{kind} not logged"):
            if self._run is not None:
                self._run.log_artifact(f"{self.name}-{kind}", kind, paths)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
        run, failed = self._run, error is not None
        with self._never_stopping():
            if run is not None:
                self._finish(run, failed=failed)
        if self._run is not None and self._member_runs and not failed:
            with _forgiving(self._say, "not every member has a run of its own"):
                self._log_member_runs(self._run.id)
        self._run = None

    def _write(self, record: Mapping[str, Any]) -> None:
        if self._file is None:
            raise RuntimeError("Tracker is a context manager: use it in a `with` statement.")
        finite = {
            key: None if isinstance(value, float) and not np.isfinite(value) else value
            for key, value in record.items()
        }
        print(json.dumps(finite), file=self._file, flush=True)

    def _open(self, run_id: str, name: str, job_type: str) -> WandbRun:
        return WandbRun(
            self.folder, run_id, name=name, group=self.name, job_type=job_type, config=self.config
        )

    def _finish(self, run: WandbRun, *, failed: bool) -> None:
        import pandas as pd
        import wandb

        if self._steps and not failed:
            last = {metrics.member: metrics for members in self._steps for metrics in members}
            table = pd.DataFrame(last.values()) if self._members is None else self._members
            # A step of its own: a run that goes on may have the curves' last step, and no table.
            run.log({"members": wandb.Table(dataframe=table)}, self._steps[-1][0].step + 1)
        run.finish(failed=failed)
        if run.offline:
            where = shlex.quote(str(self.folder / "wandb"))
            self._say(f"wandb recorded offline; to upload: wandb sync {where}")

    def _log_member_runs(self, ensemble_id: str) -> None:
        curves: dict[int, list[MemberMetrics]] = {}
        for members in self._steps:
            for metrics in members:
                curves.setdefault(metrics.member, []).append(metrics)
        for member, of_member in curves.items():
            number = f"{member:03d}"
            run = self._open(f"{ensemble_id}-{number}", f"{self.name}/{number}", "member")
            run.skip_through(self._recorded.get(run.id, -1))
            for metrics in of_member:
                values = {curve: getattr(metrics, curve) for curve in CURVES}
                run.log({k: v for k, v in values.items() if v is not None}, metrics.step)
            run.finish()

    @contextlib.contextmanager
    def _never_stopping(self) -> Iterator[None]:
        with _forgiving(self._say, f"figures go to {METRICS_FILE} alone"):
            try:
                yield
            except Exception:
                self._run = None  # what failed once is left alone
                raise


def log_artifacts(
    folder: str | Path,
    name: str,
    artifacts: Mapping[ArtifactKind, Iterable[Path]],
    *,
    say: Callable[[str], None] = _to_stderr,
) -> None:
    """Log files with the wandb run of a run folder that has ended, from any process.

    It never stops its caller. A folder that was trained without wandb is left alone.

    Args:
        name: what the wandb run was named.
        artifacts: the files or folders of each.
        say: takes a line if it fails.
    """
    with _forgiving(say, f"{', '.join(artifacts)} not logged"):
        run_id = kept_run_id(Path(folder))
        if run_id is not None:
            run = WandbRun(Path(folder), run_id, name=name, group=name, job_type="ensemble")
            for kind, paths in artifacts.items():
                run.log_artifact(f"{name}-{kind}", kind, paths)
            run.finish()


@contextlib.contextmanager
def _forgiving(say: Callable[[str], None], therefore: str) -> Iterator[None]:
    """Whatever a tracker throws, what it tracks matters more."""
    try:
        yield
    except Exception as error:
        what = " ".join(f"{type(error).__name__}: {error}".split())
        say(f"Warning: wandb failed ({what}); {therefore}.")


def _quantiles(members: list[MemberMetrics]) -> dict[str, float]:
    """Of each curve over the members, without those that held out no token."""
    figures = {}
    for curve in CURVES:
        values = [getattr(metrics, curve) for metrics in members]
        known = [value for value in values if value is not None]
        if known:
            for name, share in QUANTILES.items():
                figures[f"{curve}/{name}"] = float(np.quantile(known, share))
    return figures


def _git() -> dict[str, str | bool | None]:
    """The commit of the working directory, if it is in a repository, and whether it was edited."""
    command = "git --no-optional-locks describe --always --dirty --abbrev=40 --exclude=*"
    try:
        found = subprocess.run(
            command.split(), capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return {"git_revision": None, "git_dirty": None}
    described = found.stdout.strip()
    revision = described.removesuffix("-dirty")
    return {"git_revision": revision, "git_dirty": described != revision}
