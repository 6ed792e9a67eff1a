"""The known positive: would this verification have found features that are known to be there?"""

import tempfile
from pathlib import Path

import pandas as pd

from eval.patching.arithmetic import arithmetic_edits, arithmetic_table, headline_edits
from eval.patching.readout import readouts
from eval.scorecard.claim import Claim, above, below, interval, judged, row, untestable
from features.activity import latent_activity
from features.cards.shown import short
from features.directions import sae_directions
from lm.open import open_model
from lm.ordinals import load_tasks, ordinal_tokens
from lm.planted import PlantedDials, plant
from training.config import TrainConfig
from training.fit import train
from training.harvest import harvest

MODULUS = 10
"""Tens are planted beside it, so that no other modulus could be edited alone."""
MEMBERS = 2
FOUND_BAR = 0.5
"""Share of the planted model's edits that must be exact."""
SHUFFLED_BAR = 0.1
"""Share of its twin's that may be, in which residues mean nothing."""


def planted_control(config: TrainConfig, *, seed: int = 0) -> pd.DataFrame:
    """SAEs of a planted checkpoint, and of its twin with shuffled labels, put through the head.

    Both are made, trained on and forgotten here; the head is the planted one.

    Args:
        config: how its SAEs are fitted: as those that are verified.
        seed: of the checkpoint.

    Returns:
        One row for `planted` and one for `shuffled` (`model`): `success` of the edits of numbers,
        with its 95% interval, `n_tokens`.
    """
    dials, rows = PlantedDials(), []
    config = config.model_copy(update={"members": MEMBERS, "device": "cpu"})
    for name in ("planted", "shuffled"):
        with tempfile.TemporaryDirectory() as folder:
            checkpoint = Path(folder, "model")
            truth = plant(checkpoint, dials, seed=seed, shuffled=name == "shuffled")
            model = open_model(str(checkpoint))
            tokens = ordinal_tokens(model.tokenizer, load_tasks(numbers=(0, dials.numbers)))
            activations = harvest(model, tokens)
            read = readouts(model, tokens, truth.layer, truth.head)
        ensemble = train(activations, config, progress=False, say=_nothing)
        activity = latent_activity(ensemble, activations)
        sets = sae_directions(ensemble, activity, activations, MODULUS)
        edits = arithmetic_edits(sets, activations, read, seed=seed)
        table = headline_edits(arithmetic_table(edits, MODULUS, seed=seed))
        numbers = row(table, task="numbers", control="none")
        columns = ("success", "success_low", "success_high", "n_tokens")
        rows.append({"model": name, **{column: numbers[column] for column in columns}})
    return pd.DataFrame(rows)


def planted_claim(planted: pd.DataFrame) -> Claim:
    """That the features of a planted model are found, and none in its twin.

    Args:
        planted: of `planted_control`; empty for an SAE that was not fitted here.
    """
    name = "edits, planted model"
    if planted.empty:
        return untestable("planted sensitivity", name, "the SAE was trained elsewhere")
    found, twin = row(planted, model="planted"), row(planted, model="shuffled")
    values = interval(found, "success")
    return judged(
        "planted sensitivity",
        name,
        values,
        f"labels shuffled {short(twin['success'])}",
        found["n_tokens"],
        f"above {FOUND_BAR}, its twin's below {SHUFFLED_BAR}",
        above(values, FOUND_BAR) + below(interval(twin, "success"), SHUFFLED_BAR),
    )


def _nothing(line: str) -> None:
    """What training says of these SAEs is no news."""
