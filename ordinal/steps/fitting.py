"""The second step: M(t) harvested and the ensemble of SAEs fitted to it, or brought in."""

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd

from ordinal.config import RunConfig
from ordinal.run_folder import Run, make_run
from ordinal.settings import changed
from ordinal.steps.scanning import run_tokens

if TYPE_CHECKING:
    from lm.access import LanguageModel
    from training.activations import Activations
    from training.metrics import MemberMetrics


def train(run: Run) -> pd.DataFrame:
    """Harvest M(t) and fit the ensemble of SAEs (section 3.1), as a tracked run.

    A config that names a pretrained SAE has that one for its ensemble.
    """
    from lm.open import open_model

    model = open_model(run.config.model)
    if run.config.pretrained is not None:
        return _bring_in(run, model, run.config.pretrained)
    return train_on(run, harvested(run, model))


def harvested(run: Run, model: "LanguageModel") -> "Activations":
    """M(t) of the run's tokens."""
    from training.harvest import harvest

    return harvest(model, run_tokens(run, model), run.config.ln)


def _bring_in(run: Run, model: "LanguageModel", source: str) -> pd.DataFrame:
    """Take an SAE trained elsewhere for the only member; returns how it fits M(t)."""
    from sae.ensemble import SAEEnsemble
    from sae.pretrained import fit_of, load_pretrained

    sae = load_pretrained(source, model.info.d_model)
    activations = harvested(run, model)
    fit = fit_of(sae, activations.x)
    print(
        f"On M(t) it leaves {fit.fvu:.2f} of the variance, with {fit.l0:.0f} of {sae.d_sae:,} "
        f"latents active on a token and {fit.dead:,} on none.",
        file=sys.stderr,
    )
    about = {"model_name": activations.model_name, "hook_name": activations.hook_name}
    ensemble = SAEEnsemble([sae], seeds=[None], held_out_folds=[0], pretrained=source, **about)
    run.forget_after("train")
    activations.save(run.folder / "activations.safetensors")
    ensemble.save(run.folder)
    return pd.DataFrame([fit])


def train_file(path: Path, runs: Path, settings: Sequence[str] = ()) -> Run:
    """Fit an ensemble to an activation file, in a run folder named after it and the settings."""
    from training.activations import Activations

    activations = Activations.load(path)
    config = RunConfig(model=activations.model_name)
    name, config = changed(path.stem, config, settings)
    run = make_run(runs / name, config)
    train_on(run, activations)
    return run


def train_on(
    run: Run, activations: "Activations", *, checkpoint_every: float | None = None
) -> pd.DataFrame:
    """Fit the run's ensemble to activations; returns each member's last metrics.

    A training that was stopped goes on from its checkpoints.

    Args:
        checkpoint_every: seconds; by default a minute.
    """
    from training.checkpoint import EVERY, FOLDER
    from training.fit import train as fit
    from training.tracking import Tracker

    last: dict[int, MemberMetrics] = {}

    def log(members: "list[MemberMetrics]") -> None:
        last.update({metrics.member: metrics for metrics in members})
        tracker.log(members)

    checkpoints = run.folder / FOLDER
    tracker = Tracker(
        run.folder,
        name=run.folder.name,
        config=run.config.model_dump(),
        resume=any(checkpoints.glob("*.safetensors")),
        member_runs=run.config.tracking.member_runs,
    )
    with tracker:
        ensemble = fit(
            activations,
            run.config.sae,
            checkpoints=checkpoints,
            checkpoint_every=checkpoint_every or EVERY,
            log=log,
        )
        run.forget_after("train")
        activations.save(run.folder / "activations.safetensors")
        ensemble.save(run.folder)
        tracker.log_artifact("saes", run.folder / "saes")
    shutil.rmtree(checkpoints, ignore_errors=True)
    return pd.DataFrame([last[member] for member in sorted(last)])
