"""Removals whose effect is known: planted residues carry the units, planted tens the tens."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch

from eval.heads.dissociation import (
    dissociation_contrasts,
    dissociation_rows,
    dissociation_table,
)
from eval.heads.role_readouts import (
    COPYING,
    OTHER_WORDS,
    TENS,
    UNITS,
    Population,
    copying_readouts,
    populations,
    successor_readouts,
)
from eval.heads.roles import head_role_table
from eval.patching.ablation import ablation_table
from eval.patching.lesions import MATCHED, RANDOM, Lesions, lesions
from eval.patching.readout import readouts
from eval.patching.subspaces import remove
from features.directions import ResidueDirections
from lm.access import LanguageModel
from lm.open import open_model
from lm.ordinals import FOLDS, load_tasks, ordinal_tokens
from lm.planted import PlantedTruth, plant
from tests.eval.hand_made import HandMadeModel
from training.activations import Activations
from training.harvest import harvest


@dataclass
class Planted:
    truth: PlantedTruth
    model: LanguageModel
    activations: Activations
    sets: list[ResidueDirections]
    lesions: list[Lesions]
    asked_of: dict[str, Population]
    rows: pd.DataFrame


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Planted:
    folder = tmp_path_factory.mktemp("dissociation") / "model"
    truth = plant(folder, seed=1)
    model = open_model(str(folder))
    tokens = ordinal_tokens(model.tokenizer, load_tasks(numbers=(0, 199)))
    activations = harvest(model, tokens)
    sets = [
        ResidueDirections("truth", fold, truth.residues, torch.tensor(activations.held_out(fold)))
        for fold in range(FOLDS)
    ]
    removed = lesions(sets, activations)
    asked_of = populations(tokens, activations.x, torch.empty(0, activations.x.shape[1]))
    asked = successor_readouts(model, tokens, truth.layer, truth.head)
    none = np.zeros(len(tokens), dtype=bool)
    rows = dissociation_rows(removed, asked, asked_of, none)
    return Planted(truth, model, activations, sets, removed, asked_of, rows)


def test_residues_carry_the_units_and_tens_the_tens(planted: Planted) -> None:
    table = dissociation_table(planted.rows).set_index(["removed", "readout"])
    assert table.loc["mod-10", UNITS]["value"] < 0.2
    assert table.loc["tens", UNITS]["value"] == 1
    assert table.loc["tens", TENS]["value"] < 0.5
    assert table.loc["mod-10", TENS]["value"] > 0.8
    for readout in (UNITS, TENS):
        assert table.loc[RANDOM, readout]["value"] > 0.99
        assert table.loc[MATCHED, readout]["change"] > -0.25
    assert (table.loc[["mod-10", "tens"], "n_tokens"].loc[:, [UNITS, TENS]] == 398).all()
    assert (table["low"] <= table["value"]).all()
    assert (table["change_low"] <= table["change"]).all()


def test_both_contrasts_of_the_double_dissociation_are_above_nought(planted: Planted) -> None:
    contrasts = dissociation_contrasts(planted.rows, 10)
    assert contrasts["contrast"].tolist()[:2] == ["mod-10 less tens", "tens less mod-10"]
    assert (contrasts["low"] > 0.2).all()
    value = dissociation_table(planted.rows).set_index(["removed", "readout"])["value"]
    expected = value["tens", UNITS] - value["mod-10", UNITS]
    assert contrasts.loc[0, "value"] == pytest.approx(expected)


def test_random_subspaces_in_place_of_both_show_no_dissociation(planted: Planted) -> None:
    swapped = planted.rows[planted.rows["removed"].isin([RANDOM, "ordinal"])]
    swapped = swapped.replace({"removed": {RANDOM: "mod-10", "ordinal": "tens"}})
    contrasts = dissociation_contrasts(swapped, 10).set_index("contrast")
    assert (
        contrasts.loc["mod-10 less tens", "low"] <= 0 <= contrasts.loc["mod-10 less tens", "high"]
    )


def test_units_and_tens_are_those_of_the_ablation(planted: Planted) -> None:
    """Two ways to the same figures, by two pieces of code."""
    read = readouts(
        planted.model, planted.activations.tokens, planted.truth.layer, planted.truth.head
    )
    ablated = ablation_table(planted.sets, planted.activations, read)
    ablated = ablated[ablated["ablation"] == "mean"].set_index("removed")
    table = dissociation_table(planted.rows).set_index(["readout", "removed"])
    for removed in ("mod-10", "tens"):
        for readout, column in ((UNITS, "units_right"), (TENS, "tens_right")):
            ours = table.loc[readout, removed]["value"]
            assert ours == pytest.approx(ablated.loc[removed, column])


def test_no_linear_readout_finds_what_was_removed(planted: Planted) -> None:
    """After removal the classes' means are one, and the index has no covariance with M."""
    table, x = planted.activations.tokens.table, planted.activations.x
    directions, each = planted.lesions[0]
    fitted = ~directions.held_out.numpy()
    basis = {lesion.removed: lesion.basis for lesion in each}
    number = fitted & (table["task"] == "numbers").to_numpy()
    for removed, rows, label in (
        ("tens", number, table["index"].to_numpy() // 10 % 10),
        ("task", fitted, table["task"].to_numpy()),
    ):
        left = remove(x, basis[removed], torch.zeros(x.shape[1]))
        means = torch.stack([left[rows & (label == name)].mean(0) for name in set(label[rows])])
        assert (means - means.mean(0)).abs().max() < 1e-3 * x.abs().max()
    truth = torch.nn.functional.normalize(planted.truth.ordinal, dim=0)
    assert float((basis["ordinal"][:, 0] @ truth).abs()) > 0.5


def test_words_and_ordinal_tokens_are_copied_by_the_head_that_copies(planted: Planted) -> None:
    tokens = planted.activations.tokens
    ids = tokens.table["token_id"]
    copies, nothing = {int(token): int(token) for token in ids}, {}
    model = HandMadeModel(planted.model.tokenizer, [nothing, copies])
    hand_made = harvest(model, tokens)
    words = torch.arange(2)  # the two tokens that belong to no task
    copies |= {0: 0, 1: 1}
    model = HandMadeModel(planted.model.tokenizer, [nothing, copies])
    asked_of = populations(tokens, hand_made.x, model.embed(words))
    every = np.ones(len(tokens), dtype=bool)
    heads = {"one": (0, 0), "copying head": (0, 1)}
    table = head_role_table(model, tokens, words, asked_of, heads, every)
    value = table.set_index(["role", "readout"])
    for readout in (COPYING, OTHER_WORDS):
        assert value.loc["copying head", readout]["value"] == 1
    assert value.loc["copying head", UNITS]["value"] == 0
    assert value.loc["copying head", "task right"]["value"] == 1
    assert value.loc["copying head", COPYING]["difference_low"] > 0.8
    assert np.isnan(value.loc["one", COPYING]["difference"])
    none = copying_readouts(model, tokens, words, 0, 1, ~every)
    assert sum(len(readout.rows) for readout in none if readout.name == COPYING) == 0
