"""Dictionaries side by side, on a planted model."""

import pandas as pd
import pytest

from eval.dictionaries.measures import dictionary_table, measure
from eval.patching.ablation import ablation_table
from eval.patching.arithmetic import arithmetic_edits, arithmetic_table, headline_edits
from eval.patching.readout import readouts
from features.activity import latent_activity
from features.directions import sae_directions
from lm.open import open_model
from lm.ordinals import load_tasks, ordinal_tokens
from lm.planted import plant
from training.baselines import baseline_ensemble
from training.config import TrainConfig
from training.fit import train
from training.harvest import harvest

SUBSPACES = 3


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dictionaries") / "model"
    truth = plant(folder, seed=4)
    model = open_model(str(folder))
    activations = harvest(model, ordinal_tokens(model.tokenizer, load_tasks(numbers=(0, 199))))
    read = readouts(model, activations.tokens, truth.layer, truth.head)
    config = TrainConfig(members=2, latents=48, steps=600, workers=1, device="cpu")
    ensembles = {
        "SAE": train(activations, config, progress=False),
        "random directions": baseline_ensemble("random directions", activations, config, 5.0),
    }
    measured = [
        measure(name, ensemble, activations, read, permutations=200, random_subspaces=SUBSPACES)
        for name, ensemble in ensembles.items()
    ]
    return ensembles, activations, read, dictionary_table(measured, {"gain": "SAE"})


def test_the_learnt_dictionary_is_told_from_the_random_one(compared) -> None:
    _, _, _, table = compared
    learnt, random = (row for _, row in table.iterrows())
    assert learnt["residues"] == 10 and random["residues"] <= 1
    assert learnt["numbers"] > 0.9 and random["numbers"] < 0.1
    assert learnt["left"] < 0.3 and random["left"] > 0.7
    assert learnt["residues_control"] == 0
    for name in ("residues", "numbers", "words"):
        assert random[f"{name}_gain"] == pytest.approx(random[name] - learnt[name])
        assert random[f"{name}_gain_high"] < 0


def test_a_dictionary_is_no_better_and_no_worse_than_itself(compared) -> None:
    first = compared[3].iloc[0]
    for name in ("residues", "numbers", "words"):
        assert (first[[f"{name}_gain{end}" for end in ("", "_low", "_high")]] == 0).all()


def test_the_figures_are_those_of_the_scorecard(compared) -> None:
    ensembles, activations, read, table = compared
    sets = sae_directions(
        ensembles["SAE"], latent_activity(ensembles["SAE"], activations), activations, 10
    )
    edits = headline_edits(arithmetic_table(arithmetic_edits(sets, activations, read)))
    real = edits[edits["control"] == "none"].set_index("task")
    row = table.iloc[0]
    for mine, theirs in (("", ""), ("_low", "_low"), ("_high", "_high")):
        expected = real.loc["numbers", f"success{theirs}"]
        assert row[f"numbers{mine}"] == pytest.approx(expected, abs=0.005 if mine else 1e-9)
    assert row["numbers_n"] == real.loc["numbers", "n_tokens"]
    assert row["words"] == pytest.approx(real["success"].drop("numbers").mean())
    assert row["words_n"] == real["n_tokens"].drop("numbers").sum()
    ablation = ablation_table(sets, activations, read, random_subspaces=SUBSPACES)
    to_mean = ablation[ablation["ablation"] == "mean"]
    expected = pd.Series(to_mean.set_index("removed")["ratio"])
    assert row["left"] == pytest.approx(expected["mod-10"])
    assert row["left_random"] == pytest.approx(expected["random, variance matched"])
