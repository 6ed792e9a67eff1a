"""Discovery where the truth is known: a trial fits SAEs, labels them, and is told what is there.

*Planted* trials turn one dial of the reference at a time. *Negative* trials have nothing to find in
some families of hypotheses: whatever is labelled there, at q = .05, is false.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pandas as pd
from datasets import Dataset

from eval.dictionaries.recovery import claimed_labels, recovered_directions
from features.activity import latent_activity
from features.labels import label_features, label_table
from features.statistics import shuffled_within_tasks
from lm.ordinals import OrdinalTokens
from lm.planted import (
    REFERENCE,
    planted_activations,
    smooth_activations,
    untrained_activations,
)
from training.activations import Activations
from training.config import TrainConfig
from training.fit import train

DIALS: dict[str, tuple[float, ...]] = {
    "reference": (0,),
    "noise": (0.02, 0.2, 0.4, 0.6, 0.8),
    "overlap": (0.0, 0.05, 0.15, 0.2, 0.3),
    "numbers": (59, 99, 199, 499),
    "modulus": (7,),
}
"""Values that each dial takes while the others stay at the reference."""
SCRAMBLED: dict[str, tuple[str, ...]] = {
    "permuted indices": ("residue", "digit", "order"),
    "random weights": ("residue", "digit", "order", "task", "form"),
    "smooth in n": ("residue", "digit"),
}
"""By kind of negative, the families in which there is nothing to find."""
MEMBERS = 5
"""Of a planted trial; a negative one has a single SAE."""
NEGATIVE_STEPS = 1000
"""A third of the usual ones: what is tested there is the labels, not the dictionary."""


class Trial(NamedTuple):
    """One draw of everything that is random."""

    kind: str
    """`planted`, or a kind of negative."""
    dial: str
    """Of a planted trial; empty for a negative."""
    value: float
    seed: int


class Outcome(NamedTuple):
    """What a trial found; each table begins with the columns of `Trial`."""

    trial: pd.DataFrame
    """One row: `n_tokens`, `n_latents` (alive), `labels` in the families of the trial, and
    `labels_unscrambled`, the same with the indices in place (NaN where there is no such control).
    """
    directions: pd.DataFrame
    """Of `recovered_directions`."""
    labels: pd.DataFrame
    """Of `claimed_labels`."""


def all_trials(draws: int, runs: int) -> list[Trial]:
    """The reference first, so that it can be read first.

    Args:
        draws: of each planted setting.
        runs: of each kind of negative.
    """
    planted = [
        Trial("planted", dial, float(value), seed)
        for dial, values in DIALS.items()
        for value in values
        for seed in range(draws)
    ]
    return planted + [Trial(kind, "", 0.0, seed) for seed in range(runs) for kind in SCRAMBLED]


def run_trial(trial: Trial) -> Outcome:
    """Fit, label, compare. The same trial gives the same outcome."""
    return _planted(trial) if trial.kind == "planted" else _negative(trial)


def _planted(trial: Trial) -> Outcome:
    dials = REFERENCE
    if trial.dial != "reference":
        value = trial.value if trial.dial in ("noise", "overlap") else int(trial.value)
        dials = replace(REFERENCE, **{trial.dial: value})
    tokens, m, truth = planted_activations(dials, seed=trial.seed)
    activations = Activations(m, tokens)
    config = TrainConfig(members=MEMBERS, seed=trial.seed * MEMBERS, workers=1, device="cpu")
    ensemble = train(activations, config, progress=False, say=_nothing)
    catalog = label_features(ensemble, activations, seed=trial.seed)
    labels = claimed_labels(catalog.features, ensemble, truth)
    about = pd.DataFrame([trial])
    return Outcome(
        about.assign(
            n_tokens=len(tokens),
            n_latents=int((catalog.features["density"] > 0).sum()),
            labels=len(labels),
            labels_unscrambled=np.nan,
        ),
        about.merge(recovered_directions(catalog, ensemble, truth, seed=trial.seed), how="cross"),
        about.merge(labels, how="cross"),
    )


def _negative(trial: Trial) -> Outcome:
    control = np.nan
    if trial.kind == "permuted indices":
        tokens, m, _ = planted_activations(REFERENCE, seed=trial.seed)
        given = _permuted(tokens, trial.seed)
    else:
        make = untrained_activations if trial.kind == "random weights" else smooth_activations
        tokens, m = make(REFERENCE.d_model, REFERENCE.numbers, seed=trial.seed)
        given = tokens
    activations = Activations(m, given)
    config = TrainConfig(members=1, steps=NEGATIVE_STEPS, seed=trial.seed, workers=1, device="cpu")
    ensemble = train(activations, config, progress=False, say=_nothing)
    families = SCRAMBLED[trial.kind]
    activity = latent_activity(ensemble, activations)  # whatever the indices are called

    def labelled(some: Activations) -> pd.DataFrame:
        found = label_table(ensemble, some, activity, seed=trial.seed)
        return found[found["family"].isin(families) & (found["label"] != "neither")]

    if given is not tokens:
        control = len(labelled(Activations(m, tokens)))
    labels = labelled(activations)
    about = pd.DataFrame([trial])
    return Outcome(
        about.assign(
            n_tokens=len(tokens),
            n_latents=int(activity[0].active.any(0).sum()),
            labels=len(labels),
            labels_unscrambled=control,
        ),
        pd.DataFrame(),
        about.merge(labels[["member", "index", "label"]], how="cross"),
    )


def _permuted(tokens: OrdinalTokens, seed: int) -> OrdinalTokens:
    """The indices of each task shuffled, all spellings of one together."""
    table, rng = tokens.table, np.random.default_rng(seed)
    index = shuffled_within_tasks(table["index"].to_numpy(), table["task"].to_numpy(), rng)
    moved = table.assign(index=index)
    return OrdinalTokens(Dataset.from_pandas(moved, preserve_index=False))


def _nothing(line: str) -> None:
    """What training says of a single trial is no news."""
