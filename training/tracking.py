"""The record of a training run: wandb, and the same figures in `metrics.jsonl`."""

import contextlib
import json
import netrc
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self
from urllib.parse import urlsplit

import numpy as np

from training.member import MemberMetrics

PROJECT = "ordinal"
METRICS_FILE = "metrics.jsonl"
QUANTILES = {"low": 0.1, "median": 0.5, "high": 0.9}
CURVES = ("loss", "fvu", "fvu_held_out", "l0", "dead")


class Tracker:
    """One wandb run for one ensemble, kept inside the run folder.

    Without an account it records offline. A tracker that fails says so in one line, and never
    stops what it tracks. `metrics.jsonl` has a line for each member and for the quantiles over the
    members at each step, and no clock readings: the same run writes the same file.

    Example:
        with Tracker(folder, name="counting", config=config.model_dump()) as tracker:
            ensemble = train(activations, config, log=tracker.log)
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        name: str,
        config: Mapping[str, Any],
        say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
    ) -> None:
        self.folder = Path(folder)
        self.name = name
        self.config = dict(config)
        self._say = say
        self._run: Any = None
        self._undo = contextlib.ExitStack()
        self._file: IO[str] | None = None
        self._last: list[MemberMetrics] = []

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self._file = self._undo.enter_context((self.folder / METRICS_FILE).open("w"))
        with self._never_stopping():
            self._run = self._start()
        return self

    def log(self, members: list[MemberMetrics]) -> None:
        """Record all members at one step."""
        self._last = members
        step = members[0].step
        for metrics in members:
            self._write(metrics._asdict())
        self.log_figures(step, _quantiles(members))

    def log_figures(self, step: int, figures: Mapping[str, float]) -> None:
        """Record other figures at a step, here and in wandb."""
        self._write({"step": step, **figures})
        with self._never_stopping():
            if self._run is not None:
                self._run.log(dict(figures), step=step)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._undo, self._never_stopping():
            if self._run is not None:
                self._finish(failed=error is not None)
        self._file = None

    def _write(self, record: Mapping[str, Any]) -> None:
        if self._file is None:
            raise RuntimeError("Tracker is a context manager: use it in a `with` statement.")
        finite = {
            key: None if isinstance(value, float) and not np.isfinite(value) else value
            for key, value in record.items()
        }
        print(json.dumps(finite), file=self._file, flush=True)

    def _start(self) -> Any:
        import wandb

        inside = str(self.folder.resolve() / "wandb")
        Path(inside).mkdir(exist_ok=True)
        # Tables are staged as artifacts, by default in the home folder.
        self._undo.enter_context(
            _environment({"WANDB_DATA_DIR": inside, "WANDB_CACHE_DIR": inside})
        )
        return wandb.init(
            project=PROJECT,
            group=self.name,
            name=self.name,
            dir=str(self.folder),
            config={**self.config, "git_revision": _git_revision()},
            mode=_mode(),
            settings=wandb.Settings(silent=True, console="off", init_timeout=30),
        )

    def _finish(self, *, failed: bool) -> None:
        import wandb

        run, self._run = self._run, None
        if self._last:
            table = wandb.Table(columns=list(MemberMetrics._fields))
            for metrics in self._last:
                table.add_data(*metrics)
            run.log({"members": table}, step=self._last[0].step)
        run.finish(exit_code=int(failed))
        if run.settings.mode == "offline":
            self._say(f"wandb recorded offline; to upload: wandb sync {run.settings.sync_dir}")

    @contextlib.contextmanager
    def _never_stopping(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever a tracker throws, the training matters more
            self._run = None
            what = " ".join(f"{type(error).__name__}: {error}".split())
            self._say(f"Warning: wandb failed ({what}); figures go to {METRICS_FILE} alone.")


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


def _mode() -> Any:
    """What `WANDB_MODE` says; else online with an account, offline without."""
    return os.environ.get("WANDB_MODE") or ("online" if _has_account() else "offline")


def _has_account() -> bool:
    """Whether wandb would find a key: it asks at a prompt when it finds none."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    host = urlsplit(os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname or ""
    for file in (os.environ.get("NETRC"), "~/.netrc", "~/_netrc"):
        with contextlib.suppress(OSError, netrc.NetrcParseError):
            if file and netrc.netrc(os.path.expanduser(file)).authenticators(host):
                return True
    return False


def _git_revision() -> str | None:
    """The commit of the working directory, if it is in a repository."""
    try:
        found = subprocess.run(
            ["git", "rev-parse", "--verify", "HEAD"], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return found.stdout.strip() if found.returncode == 0 else None


@contextlib.contextmanager
def _environment(values: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
