"""The steps of the method, each reading and writing the run folder, each repeatable alone."""

import sys
import time
from collections.abc import Callable

import pandas as pd

from ordinal.run_folder import NEEDS, OUTPUTS, Run
from ordinal.steps.fitting import train
from ordinal.steps.labelling import features
from ordinal.steps.proving import verify
from ordinal.steps.scanning import heads


def report(run: Run) -> None:
    """Write report.html: one file that opens without a network."""
    from ordinal.report.page import write_report
    from training.tracking import log_artifacts

    write_report(run)
    catalog = [run.folder / name for name in ("features.parquet", "vectors.safetensors")]
    page = [run.folder / "report.html"]
    log_artifacts(run.folder, run.folder.name, {"catalog": catalog, "report": page})


STEPS: dict[str, Callable[[Run], pd.DataFrame | None]] = {
    "heads": heads,
    "train": train,
    "features": features,
    "verify": verify,
    "report": report,
}


def run_step(run: Run, step: str) -> pd.DataFrame | None:
    """Do one step, whether or not it was done before, and say how long it took."""
    run.require(*NEEDS[step])
    started = time.monotonic()
    result = STEPS[step](run)
    _say_done(run, step, started)
    return result


def run_missing(run: Run) -> list[str]:
    """Do every step whose output is not there, or was made of what is redone; returns them."""
    did = []
    # An SAE from elsewhere comes first: whether it fits is known before any head is scored.
    first = "train" if run.config.pretrained else "heads"
    for step in sorted(STEPS, key=lambda step: step != first):
        if not run.done(step):
            run_step(run, step)
            did.append(step)
    return did


def _say_done(run: Run, step: str, started: float) -> None:
    seconds = time.monotonic() - started
    print(f"{step:<9}{seconds:6.1f} s   {run.folder / OUTPUTS[step][-1]}", file=sys.stderr)
