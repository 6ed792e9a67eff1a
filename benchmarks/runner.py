"""What the parts of the benchmark share: their options, and runs in fresh processes."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich.console import Console

from benchmarks.measure import Settings, fast_bfloat16

ROOT = Path(__file__).resolve().parent.parent
BFLOAT16 = {"precision": "bfloat16"}
SPARSE_START = {**BFLOAT16, "start_density": 0.05}
"""The cheapest way to fit with this project's trainer in a given number of steps."""


@dataclass(frozen=True)
class Options:
    """What a finished SAE costs, against other trainers."""

    steps: int = 3000
    """Optimiser steps of each fit."""
    repetitions: int = 3
    """Runs of each fit, round robin."""
    l1: tuple[float, ...] = (1.9, 0.17)
    """Penalties. The plain loop's 3,000 steps end at an L0 of 11.9 with the first (a loss of 167.7)
    and of 98.5 with the second (42.9). Parts other than the comparison take the first."""
    rows: tuple[str, ...] = ()
    """Comparison: which rows to measure, by name; by default all."""
    optimisers: bool = False
    """Measure this instead: Adam against 2-Adam, over one grid of learning rates."""
    subspace: bool = False
    """Measure this instead: what training in the tokens' subspace costs and what it changes."""
    scaling: bool = False
    """Measure this instead: cost against the number of members."""
    seeds: int = 8
    """Subspace: pairs of fits, each pair on data of its own, for the held-out loss."""
    members: int = 2
    """Scaling: SAEs of SAELens that are measured; the cost of more is extrapolated."""
    measured: int = 32
    """Scaling: the largest ensemble of ours that is measured; larger ones are extrapolated."""
    out: Path | None = None
    """JSON file for all results."""
    figure: Path | None = None
    """Comparison: HTML file for the objective against CPU seconds."""


@dataclass
class Runner:
    """Measures one part, keeps its results and writes them after each run."""

    options: Options
    results: list[dict] = field(default_factory=list)
    console: Console = field(default_factory=lambda: Console(stderr=True, soft_wrap=True))

    def measure(
        self,
        name: str,
        trainer: str,
        settings: Settings,
        chosen: Mapping[str, object] | None = None,
        *,
        members: int = 0,
        threads: int | None = 1,
    ) -> dict:
        """One measurement in a fresh process; what could not be measured is not kept.

        Args:
            name: what the tables know the result by.
            trainer: one of `process.TRAINERS`.
            chosen: further fields of `TrainConfig`, for ours.
            members: of an ensemble; 0 measures one SAE and its curve.
            threads: None leaves PyTorch its default.

        Raises:
            SystemExit: the process failed.
        """
        job = {
            "name": name,
            "trainer": trainer,
            "settings": asdict(settings),
            "chosen": dict(chosen or {}),
            "members": members,
        }
        env = {**os.environ, "TQDM_DISABLE": "1", "WANDB_MODE": "disabled"}
        for variable in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
            env.pop(variable, None)
            if threads:
                env[variable] = str(threads)
        command = [sys.executable, "-m", "benchmarks.process", json.dumps(job)]
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{name} failed:\n{done.stderr}")
        result = {**job, **json.loads(done.stdout.splitlines()[-1])}
        about = f"{name}, {settings.steps} steps at d_model {settings.d_in}, l1 {settings.l1:.3g}"
        if "skipped" in result:
            self.say(f"{name} left out: {result['skipped']}")
            return result
        self.results.append(result)
        if self.options.out:
            self.options.out.write_text(json.dumps(self.results, indent=1) + "\n")
        if "diverged" in result:
            self.say(f"{about}: diverged")
        else:
            figures = {"{:.1f} CPU s": "cpu", "{:.1f} s": "wall", "loss {:.2f}": "loss"}
            figures["L0 {:.1f}"] = "l0"
            parts = [text.format(result[key]) for text, key in figures.items() if key in result]
            self.say(f"{about}: {', '.join(parts)}")
        return result

    def say(self, line: str) -> None:
        """Progress, on stderr."""
        self.console.print(line, highlight=False, style="dim")

    def bfloat16(self) -> bool:
        """Whether to measure what encodes in bfloat16; says so if not."""
        if not (fast := fast_bfloat16()):
            self.say("This processor has neither AVX512_BF16 nor AMX: no bfloat16.")
        return fast


def least_and_median(values: Iterable[float]) -> str:
    values = list(values)
    return f"{min(values):.1f} / {statistics.median(values):.1f}"


def mean_and_error(values: Iterable[float], digits: int = 2) -> str:
    """The mean with its standard error."""
    values = list(values)
    mean = f"{statistics.mean(values):.{digits}f}"
    if len(values) < 2:
        return mean
    return f"{mean} ± {statistics.stdev(values) / len(values) ** 0.5:.{digits}f}"
