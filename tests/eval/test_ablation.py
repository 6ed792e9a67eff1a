"""Ablation, restoring and doses where the truth is known."""

import numpy as np
import pandas as pd
import pytest
import torch

from eval.patching.ablation import RANDOM, ablation_table
from eval.patching.arithmetic import arithmetic_edits, arithmetic_table, headline_edits
from eval.patching.doses import FULL, HALF, DoseResponse, _effect, dose_response
from eval.patching.operators import Add
from eval.patching.readout import Readout, readouts
from eval.patching.rivals import rival_table
from features.directions import ResidueDirections
from lm.open import open_model
from lm.ordinals import load_tasks, ordinal_tokens
from lm.planted import plant
from training.activations import Activations
from training.harvest import harvest

Studied = tuple[list[ResidueDirections], Activations, list[Readout]]


@pytest.fixture(scope="module")
def studied(tmp_path_factory) -> Studied:
    folder = tmp_path_factory.mktemp("planted") / "model"
    truth = plant(folder, seed=5)
    model = open_model(str(folder))
    tokens = ordinal_tokens(model.tokenizer, load_tasks(numbers=(0, 199)))
    activations = harvest(model, tokens)
    held_out = torch.tensor(activations.held_out(0))
    sets = [ResidueDirections("truth", 0, truth.residues, held_out)]
    return sets, activations, readouts(model, tokens, truth.layer, truth.head)


@pytest.fixture(scope="module")
def ablation(studied: Studied) -> pd.DataFrame:
    return ablation_table(*studied, random_subspaces=6).set_index(["removed", "ablation"])


@pytest.fixture(scope="module")
def doses(studied: Studied) -> DoseResponse:
    sets, activations, read = studied
    return dose_response(sets, [Add(sets[0], activations)], activations, read)


def test_every_ablation_takes_the_units_and_random_ones_do_not(ablation: pd.DataFrame) -> None:
    for to in ("mean", "zero", "resample"):
        assert ablation.loc[("mod-10", to), "score_high"] < 0.4
        assert ablation.loc[("mod-10", to), "margin_change_high"] < 0
        assert ablation.loc[(RANDOM, to), "score"] > ablation.loc[("mod-10", to), "score"] + 0.3
    assert ablation.loc[("mod-10", "resample"), "units_right"] < 0.1


def test_only_the_own_class_restores_what_was_taken(ablation: pd.DataFrame) -> None:
    for removed in ("mod-10", "tens"):
        row = ablation.loc[(removed, "mean")]
        assert row["restored_low"] > 0.9
        assert row["restored_other_high"] < 0.15


def test_dose_one_is_the_ablation_and_dose_none_the_clean_head(
    doses: DoseResponse, ablation: pd.DataFrame
) -> None:
    curve = doses.curves.query("what == 'mod-10'").set_index("dose")
    row = ablation.loc[("mod-10", "mean")]
    assert curve.loc[0.0, "share"] == pytest.approx(row["score_before"])
    assert curve.loc[1.0, "share"] == pytest.approx(row["score"])
    assert curve.loc[0.0, "margin"] == pytest.approx(row["margin_before"], abs=1e-4)
    assert curve.loc[1.0, "margin"] == pytest.approx(row["margin"], abs=1e-4)
    assert (np.diff(curve["margin"]) < 0).all()


def test_an_edit_has_its_whole_effect_at_its_dose(doses: DoseResponse) -> None:
    curve = doses.curves.query("kind == 'edit'").set_index("dose")
    assert curve.loc[0.0, "share"] == 0
    assert curve.loc[1.0, "share"] > 0.95
    effect = doses.effects.query("kind == 'edit'").iloc[0]
    assert 0 < effect["half_dose_low"] <= effect["half_dose_high"] < 1


def test_half_of_a_straight_line_is_at_half_of_the_dose() -> None:
    line = np.linspace(3, -3, 21)
    full, at_half, half_dose = _effect(line)
    assert (full, at_half, half_dose) == pytest.approx((line[FULL] - line[0], 0.5, 0.5))
    late = np.where(np.arange(21) > HALF, -1.0, 0.0)
    assert _effect(late)[1:] == pytest.approx((0, 0.55))


def test_other_features_and_luck_do_not_edit(studied: Studied) -> None:
    sets, activations, read = studied
    edits = headline_edits(arithmetic_table(arithmetic_edits(sets, activations, read)))
    true = edits[edits["control"] == "none"].set_index("task")["success"]
    rivals = headline_edits(rival_table(activations, read, 10, 64))
    rivals = rivals.set_index(["directions", "task"])
    assert rivals.loc[("tens digits", "numbers"), "success"] < 0.05
    for rival, task in (
        ("random dictionary", "numbers"),
        ("class means mod 7", "days"),
        ("class means mod 12", "months"),
    ):
        assert rivals.loc[(rival, task), "success"] < true[task] - 0.3
